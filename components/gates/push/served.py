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
        pushed = [p for p in input_dict["serving"] if p.get_int_custom_property("pushed") == 1]
        kept = {}  # of each model the push that came first, so that another push of it changes nothing
        for p in sorted(pushed, key=lambda p: p.id):
            hashed = p.get_string_custom_property("sha256")
            if hashed not in ours and p.get_int_custom_property("withdrawn") != 1:
                kept[hashed] = (kept.get(hashed, (p, p))[0], p)
        if not kept:
            return {**input_dict, "serving": [], "best": []}
        serving = max(kept.values(), key=lambda first_and_last: first_and_last[1].id)[0]
        best = max((first for first, _ in kept.values()), key=lambda p: (p.get_float_custom_property("accuracy"), p.id))
        return {**input_dict, "serving": [serving], "best": [] if best is serving else [best]}
