"""The closed forms, one file a layer family."""

from components.dp_training.per_example.rules import convolution, dense, embedding, normalization
from components.dp_training.per_example.rules.rule import Rule

RULES: dict[type, Rule] = {
    rule.layer: rule for family in (dense, convolution, embedding, normalization) for rule in family.RULES
}
