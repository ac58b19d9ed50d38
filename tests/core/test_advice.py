from dataclasses import replace

from trapline.core.advice import Situation, advise

ISLANDS = Situation(
    crops=900, places=20, per_label=40, start_s=60, epoch_s=120, epochs=8, gpu=False, budget_s=8 * 3600
)  # fmt: skip


def test_the_defaults_where_they_fit():
    found = advise(ISLANDS)
    assert found.options == ()
    assert "the defaults fit" in found.why[0]


def test_a_handful_of_places_take_the_probe():
    found = advise(replace(ISLANDS, places=5))
    assert found.options == ("--mode", "probe")
    assert "5 places to learn from are few" in found.why[0]


def test_as_many_epochs_as_the_time_allows():
    found = advise(replace(ISLANDS, epoch_s=5000))
    assert found.options == ("--epochs", "5")
    assert found.why == ("8 epochs would take longer than there is time for; 5 fit.",)


def test_where_not_even_three_epochs_fit_the_probe_is_taken_for_now():
    found = advise(replace(ISLANDS, budget_s=300))
    assert found.options == ("--mode", "probe")
    assert "only 2 epochs fit" in found.why[0]
    assert "--image-size 160" in found.why[0]
    assert "only 0 epochs fit" in advise(replace(ISLANDS, budget_s=30)).why[0]


def test_a_larger_model_for_many_crops_on_a_gpu_only():
    many = replace(ISLANDS, crops=50_000)
    assert advise(many).options == ()
    assert advise(replace(many, gpu=True)).options == ("--model", "efficientnet_b3")
    assert advise(replace(many, gpu=True, epoch_s=5000)).options == ("--epochs", "5", "--model", "efficientnet_b3")


def test_rare_labels_are_named():
    assert "the rarest label has 3 crops" in advise(replace(ISLANDS, per_label=3)).why[-1]
