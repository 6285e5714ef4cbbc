"""What travels between rooms inside one process: frozen values that check themselves once.

A record holds arrays in the axis order its docstring names. Missing data is NaN, never 0.
"""

from fmmtc_bidsapp.records.arrays import Floats, Ints
from fmmtc_bidsapp.records.atlas import MOST_PARCELS, Atlas, ParcelTable
from fmmtc_bidsapp.records.eligibility import ArmCount, EligibilityStep, Exclusion
from fmmtc_bidsapp.records.evaluation import (
    AddedValue,
    ArmDifference,
    ArmRow,
    CalibrationBin,
    ComparisonRow,
    Curve,
    Difference,
    Duplicate,
    Evaluation,
    Leak,
    MetricRow,
    OptimismRow,
    PermutationTest,
)
from fmmtc_bidsapp.records.examples import Examples, ModalityValues, Person
from fmmtc_bidsapp.records.explanation import Explanation, FoldExplanation, MapRow, ModalityShare
from fmmtc_bidsapp.records.predictions import Blocks, Calibration, Fold, FoldPredictions
from fmmtc_bidsapp.records.quality import RunQuality
from fmmtc_bidsapp.records.runs import BoldRun, Origin, SeriesFile
from fmmtc_bidsapp.records.series import CleanedSeries, Connectome, ParcelSeries
from fmmtc_bidsapp.records.strategy import Regressor, Strategy

__all__ = [
    "MOST_PARCELS",
    "AddedValue",
    "ArmCount",
    "ArmDifference",
    "ArmRow",
    "Atlas",
    "Blocks",
    "BoldRun",
    "Calibration",
    "CalibrationBin",
    "CleanedSeries",
    "ComparisonRow",
    "Connectome",
    "Curve",
    "Difference",
    "Duplicate",
    "EligibilityStep",
    "Evaluation",
    "Examples",
    "Exclusion",
    "Explanation",
    "Floats",
    "Fold",
    "FoldExplanation",
    "FoldPredictions",
    "Ints",
    "Leak",
    "MapRow",
    "MetricRow",
    "ModalityShare",
    "ModalityValues",
    "OptimismRow",
    "Origin",
    "ParcelSeries",
    "ParcelTable",
    "PermutationTest",
    "Person",
    "Regressor",
    "RunQuality",
    "SeriesFile",
    "Strategy",
]
