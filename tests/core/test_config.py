import pytest
from pydantic import ValidationError

from trapline.core.config import ProjectConfig, Section, SplitConfig, TrainConfig

ISLANDS = {"datasets": {"islands": {"annotations": ["export.json"]}}}


def test_a_dataset_is_all_it_needs():
    config = ProjectConfig.model_validate(ISLANDS)
    assert (config.split.val_frac, config.split.test_frac, config.max_failures) == (0.2, 0.2, 0)
    assert config == ProjectConfig.model_validate(ISLANDS)


def test_nothing_changes_after_it_is_built():
    with pytest.raises(ValidationError, match="frozen"):
        SplitConfig().seed = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": {}}, "at least 1 item"),
        ({"datasets": {"islands": {"annotations": []}}}, "at least 1 item"),
        ({"datasets": {"../islands": {"annotations": ["a"]}}}, "match pattern"),
        ({"datasets": {"a/b": {"annotations": ["a"]}}}, "match pattern"),
        ({"datasets": {"Islands": {"annotations": ["a"]}, "islands": {"annotations": ["a"]}}}, "differ only in case"),
        ({"split": {"val_frac": 0.5, "test_frac": 0.5}}, "leave nothing for train"),
        ({"split": {"val_frac": -0.1}}, "greater than or equal to 0"),
        ({"train": {"epochs": -1}}, "greater than or equal to 0"),
        ({"crop": {"style": "round"}}, "'square', 'tight' or 'pad'"),
        ({"max_failures": -1}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_meant(changes, message):
    with pytest.raises(ValidationError, match=message):
        ProjectConfig.model_validate({**ISLANDS, **changes})


def test_the_old_spelling_of_a_model():
    assert TrainConfig(model="efficientnet-b3").timm_name == "efficientnet_b3"
    assert TrainConfig(model="vit_small_patch16_224.augreg-in21k").timm_name == "vit_small_patch16_224.augreg-in21k"


def sections():
    return [value for name in ProjectConfig.model_fields if isinstance(value := _default(name), Section)]


def _default(name):
    return ProjectConfig.model_fields[name].default


@pytest.mark.parametrize("section", sections(), ids=lambda section: type(section).__name__)
def test_every_option_explains_itself(section):
    fields = type(section).model_fields
    assert all(field.description for field in fields.values())
    assert section.inert <= set(fields)
