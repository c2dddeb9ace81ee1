"""The positive class is the one whose name is not negative; unknown where names do not tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_baseline_cls.data.positive import infer_positive_class

# Positive first: names of public data sets, and spellings in six languages.
PAIRS = """
PNEUMONIA|NORMAL  malignant|benign  malignant|Healthy  1|0  yes|no  class1|class0  COVID+|COVID-
DR|No_DR  COVID|non-COVID  COVID|NonCOVID  covid|noncovid  Parasitized|Uninfected  Pos|Neg
fracture|not fractured  Effusion|No Finding  Abnormal|Normal  not_normal|normal  Opacity|Clear
Tumor|NoTumor  tumor|tumor_free  Demented|NonDemented  unhealthy|healthy  patients|controls
present|absent  symptomatic|asymptomatic  with_mass|without_mass  Typical|Negative_for_Pneumonia
Tumor|Kein Befund  pathologisch|unauffällig  Bruch|ohne Bruch  krank|GESUND  bösartig|gutartig
lésion|sans lésion  malin|bénin  malade|sain  nódulo|sem nódulo  doente|saudável  maligno|benigno
Hallazgo|Sin hallazgos  enfermo|sano  frattura|senza-frattura  malato|Sano  tumeur|aucune_tumeur
"""


@pytest.mark.parametrize("pair", [pair for line in PAIRS.split("\n") for pair in line.split("  ")])
def test_the_class_that_is_not_negative_is_positive_in_either_order(pair: str) -> None:
    if not pair:
        return
    positive, negative = pair.split("|")
    for names in ((positive, negative), (negative, positive)):
        found, inference = infer_positive_class(names)
        assert found == positive
        assert inference.certainty in ("sure", "guess")
        assert bool(inference.warning) == (inference.certainty == "guess")


@pytest.mark.parametrize(
    "names",
    [
        ("melanoma", "nevus"),
        ("benign", "normal"),
        ("cat", "dog"),
        ("small cell", "non-small cell"),
        ("clear_cell", "papillary"),
        ("undetermined", "tumor"),
        ("2", "3"),
        ("0", "00"),
        ("normal_pressure_hydrocephalus", "alzheimer"),
        ("triple_negative", "luminal"),
        ("PAS", "HE"),
        ("sem", "lesion"),
        ("No.1", "lesion"),
        ("none_small", "small"),
        ("atypical", "typical"),
        ("undifferentiated", "differentiated"),
        ("uncontrolled", "controlled"),
        ("unstable", "stable"),
        ("incomplete", "complete"),
    ],
)
def test_names_of_which_neither_or_both_are_negative_tell_nothing(names: tuple[str, str]) -> None:
    found, inference = infer_positive_class(names)
    assert found is None
    assert inference.certainty == "unknown"
    assert inference.flag == "--positive-class NAME"


@pytest.mark.parametrize(
    ("names", "certainty"),
    [
        (("DR", "No_DR"), "sure"),
        (("glioma", "no_tumor"), "sure"),
        (("fracture", "not fractured"), "sure"),
        (("Opacity", "normal lungs"), "sure"),
        (("COVID", "non-COVID pneumonia"), "guess"),
        (("cancer", "benign prostatic hyperplasia"), "guess"),
        (("Parasitized", "Uninfected"), "guess"),
    ],
)
def test_a_name_with_words_of_its_own_is_no_sure_negative(
    names: tuple[str, str], certainty: str
) -> None:
    found, inference = infer_positive_class(names)
    assert (found, inference.certainty) == (names[0], certainty)


def test_more_than_two_classes_have_no_positive_one() -> None:
    found, inference = infer_positive_class(["NORMAL", "TB", "COVID"])
    assert found is None and inference.found == "none" and not inference.flag


@given(st.text(max_size=8), st.text(max_size=8))
def test_any_two_names_give_one_of_them_or_none_whatever_the_order(one: str, other: str) -> None:
    found = infer_positive_class([one, other])[0]
    assert found in (one, other, None)
    if one != other:
        assert infer_positive_class([other, one])[0] == found
