"""Which models a push is measured against: the one that serves, and the best that ever did."""

from tfx.dsl.components.common.resolver import ResolverStrategy


class ServedModels(ResolverStrategy):
    """Resolves `serving` and `best` to at most one PushedModel each.

    What was rolled back is left out, and so is what is among `variants` itself: a second run on the same files then
    finds the same models, and judges nothing anew. `best` is the one with the highest accuracy on its own holdout, and
    empty where it is the one that serves.
    """

    def resolve_artifacts(self, store, input_dict):
        """Resolves the three lists."""
        ours = {v.get_string_custom_property("sha256") for v in input_dict["variants"]}
        kept = [p for p in standing(input_dict["serving"]) if p.get_string_custom_property("sha256") not in ours]
        if not kept:
            return {**input_dict, "serving": [], "best": []}
        best = max(kept, key=lambda p: (p.get_float_custom_property("accuracy"), p.id))
        return {**input_dict, "serving": kept[:1], "best": [] if best is kept[0] else [best]}


def standing(pushes) -> list:
    """The pushes that were not withdrawn, one a model, from the one that served last on.

    Of a model that was pushed more than once it is the first push, so that another one changes nothing, and its place
    is that of the last.
    """
    kept = {}
    for p in sorted(pushes, key=lambda p: p.id):
        if p.get_int_custom_property("pushed") == 1 and p.get_int_custom_property("withdrawn") != 1:
            hashed = p.get_string_custom_property("sha256")
            kept[hashed] = (kept.get(hashed, (p, p))[0], p)
    return [first for first, _ in sorted(kept.values(), key=lambda pair: -pair[1].id)]
