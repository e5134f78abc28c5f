"""Which earlier model the Evaluator compares the parent with."""

from tfx.dsl.components.common.resolver import ResolverStrategy

_BLESSED, _CURRENT = "blessed", "current_model_id"  # custom properties that TFX's Evaluator sets on its blessing


class EarlierBlessedModel(ResolverStrategy):
    """The latest model that the Evaluator blessed before the candidate was made, or none.

    TFX's own LatestBlessedModelStrategy finds the candidate itself once it is blessed, so that a second run on the
    same model would compare it with itself and miss the cache.
    """

    def resolve_artifacts(self, store, input_dict):
        """Resolves `candidate`, `model` and `model_blessing` to at most one artifact each."""
        candidate = max((a.id for a in input_dict["candidate"]), default=0)
        blessings = {
            blessing.get_int_custom_property(_CURRENT): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property(_BLESSED) == 1
        }
        earlier = [m for m in input_dict["model"] if m.id < candidate and m.id in blessings]
        chosen = sorted(earlier, key=lambda m: m.id)[-1:]
        return {
            "candidate": input_dict["candidate"],
            "model": chosen,
            "model_blessing": [blessings[m.id] for m in chosen],
        }
