import dataclasses
import json

import pytest

from input_pipeline.errors import UserError
from magnifier_jax.export import ExportSettings, choose_settings
from magnifier_jax.export.card import describe
from magnifier_jax.export.exporting import check_output
from magnifier_jax.export.function import make_descriptor_function
from magnifier_jax.export.onnx.boxmot import boxmot_metadata, boxmot_sidecar
from tests.magnifier_jax.export.conftest import random_network


def test_defaults_are_those_that_people_feed():
    assert choose_settings("onnx") == ExportSettings(format="onnx")
    assert choose_settings("tflite") == ExportSettings(format="tflite", batch=1)
    assert choose_settings("savedmodel", batch=8).batch == 8
    weights = choose_settings("folder")
    assert (weights.layout, weights.normalise, weights.l2) == ("NCHW", "outside", "outside")


def test_boxmot_decides_what_it_is_fed():
    settings = choose_settings(consumer="boxmot", dimension=8)
    assert settings == choose_settings("onnx", consumer="boxmot", dimension=8)
    assert (settings.format, settings.layout, settings.normalise) == ("onnx", "NCHW", "outside")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--format is missing"),
        ({"consumer": "boxmot", "export_format": "torch"}, "--format=torch does not go with --for"),
        ({"consumer": "boxmot", "layout": "NHWC"}, "--layout=NHWC does not go with --for=boxmot"),
        (
            {"consumer": "boxmot", "normalise": "inside"},
            "--normalise=inside does not go with",
        ),
        ({"export_format": "tflite", "precision": "fp16"}, "--precision=fp16 does not go with"),
        ({"export_format": "onnx", "classifiers": False}, "--no-classifiers does not go with"),
        ({"export_format": "onnx", "batch": 4}, "--batch does not go with --format=onnx"),
        ({"export_format": "torch", "batch": 4}, "--batch does not go with --format=torch"),
        ({"export_format": "tflite", "batch": 0}, "--batch is 0 but must be a whole number"),
        ({"export_format": "tflite", "batch": 10**9}, "--batch is 1000000000 but must be"),
        ({"export_format": "folder", "dimension": 4}, "--dimension does not go with"),
        ({"export_format": "onnx", "dimension": 2.5}, "--dimension is 2.5 but must be"),
        ({"export_format": "onx"}, r"There is no format 'onx', did you mean 'onnx'\?"),
        ({"export_format": "onnx", "layout": "nchw"}, r"There is no layout 'nchw'"),
        ({"export_format": "onnx", "precision": "float16"}, r"There is no precision 'float16'"),
        ({"export_format": "onnx", "normalise": "in"}, r"There is no normalise 'in'"),
        ({"export_format": "onnx", "l2": True}, r"There is no l2 'True'"),
        ({"consumer": "BoxMOT"}, r"There is no for 'BoxMOT'"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        choose_settings(**options)


def test_boxmot_gets_the_size_of_crops(tmp_path):
    network = random_network("tiny")
    known = describe(make_descriptor_function(network, choose_settings(consumer="boxmot")))
    content = json.loads(json.dumps(boxmot_metadata(known)))
    assert content["img_size"] == content["model_kwargs"]["img_size"] == [64, 32]
    assert content["num_classes"] == 3
    sidecar = boxmot_sidecar(tmp_path / "a.onnx")
    assert sidecar.name == "a.onnx.metadata.json"
    sidecar.write_text("mine")
    with pytest.raises(UserError, match=r"a\.onnx\.metadata\.json exists already"):
        check_output(choose_settings(consumer="boxmot"), tmp_path / "a.onnx")
    with pytest.raises(UserError, match=r"BoxMOT tells ONNX by the ending: use \.onnx"):
        check_output(choose_settings(consumer="boxmot"), tmp_path / "a.bin")


def test_settings_are_not_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        choose_settings("onnx").layout = "NCHW"
