import numpy as np

from trapline.core.taxonomy import levels, predicted_at

LABELS = ["coyote", "dog", "lynx", "truck"]
TAXONOMY = {
    "genus": {"coyote": "Canis", "dog": "Canis", "lynx": "Lynx"},
    "family": {"coyote": "Canidae", "dog": "Canidae", "lynx": "Felidae"},
    "order": {"coyote": "Carnivora", "dog": "Carnivora", "lynx": "Carnivora"},
    "species": {"coyote": "C. latrans", "dog": "C. familiaris", "lynx": "L. rufus"},
}


def test_levels_finest_first_without_those_that_say_what_labels_say():
    found = levels(LABELS, TAXONOMY)
    assert [level.name for level in found] == ["genus", "family", "order"]
    assert found[0].taxa == ["Canis", "Lynx", "truck"]  # a label without a taxon stands for itself
    assert found[0].of.tolist() == [0, 0, 1, 2]


def test_scores_of_one_taxon_are_summed():
    scores = np.array([[0.3, 0.25, 0.4, 0.05], [0.1, 0.1, 0.2, 0.6]], np.float32)
    genus, _, order = levels(LABELS, TAXONOMY)
    assert predicted_at(genus, scores).tolist() == [0, 2]  # neither dog nor coyote leads, Canis does
    assert [order.taxa[n] for n in predicted_at(order, scores)] == ["Carnivora", "truck"]
