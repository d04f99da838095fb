"""What operations move is read from the HLO: sizes of small programs, counted by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from benchmarks.operations import operations_of

PROGRAM = """HloModule jit_step, is_scheduled=true, entry_computation_layout={()->s32[]}

%body (state.1: (s32[], bf16[4,4])) -> (s32[], bf16[4,4]) {
  %state.1 = (s32[], bf16[4,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state.1), index=0
  %x = bf16[4,4]{1,0} get-tuple-element(%state.1), index=1
  %twice.1 = bf16[4,4]{1,0} add(%x, %x)
  ROOT %next = (s32[], /*index=1*/bf16[4,4]{1,0}) tuple(%i, %twice.1)
}

%fused_reduce (param_0: f32[100,8], param_1: f32[8]) -> (f32[8], pred[3]) {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %row = f32[1,8]{1,0} slice(%param_0), slice={[0:1], [0:8]}
  %flat = f32[8]{0} bitcast(%row)
  %param_1 = f32[8]{0} parameter(1)
  %sum = f32[8]{0} add(%flat, %param_1)
  %total = f32[] reduce(%sum, %sum), dimensions={0}, to_apply=%add
  %flags = pred[3]{0} broadcast(%total), dimensions={}
  ROOT %both = (f32[8]{0}, pred[3]{0}) tuple(%sum, %flags)
}

ENTRY %main.1 (rows: f32[100,8], bias: f32[8]) -> s32[] {
  %rows = f32[100,8]{1,0:T(8,128)} parameter(0), metadata={op_name="rows[\\'a\\']"}
  %bias = f32[8]{0} parameter(1)
  %copied = f32[100,8]{0,1:T(8,128)} copy(%rows), metadata={op_name="jit(step)/copy"}
  %fetch = (f32[8]{0:T(128)S(1)}, f32[8]{0}, u32[]{:S(2)}) copy-start(%bias)
  %near = f32[8]{0:T(128)S(1)} copy-done(%fetch)
  %both.1 = (f32[8], pred[3]) fusion(%copied, %near), kind=kInput, calls=%fused_reduce
  %start = (s32[], bf16[4,4]{1,0}) custom-call(), custom_call_target="Make"
  %loop = (s32[], bf16[4,4]) while(%start), body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %back = (f32[8]{0}, f32[8]{0:T(128)S(1)}, u32[]{:S(2)}) copy-start(%near)
  ROOT %count = s32[] get-tuple-element(%loop), index=0
}
"""


def test_by_hand() -> None:
    found = operations_of(PROGRAM)
    assert [(x.name, x.moved) for x in found] == [
        # Row by row 100 × 8 in 104 × 128; the other way round 8 × 128.
        ("copied", 4 * (104 * 128 + 8 * 128)),
        # Five trips; it reads the same numbers as its left and its right side.
        ("twice.1", 5 * 3 * 16 * 2),
        # One row of the array and two results; what lies in the fast memory is free.
        ("both.1", 8 * 4 + 8 * 4 + 3),
        ("start", 4 + 16 * 2),
        ("fetch", 8 * 4),
        ("back", 8 * 4),
    ]
    copied, twice, both, *_ = found
    assert (copied.kind, copied.result, copied.source) == ("copy", "f32[100,8]", "jit(step)/copy")
    assert (both.kind, both.result, both.source) == ("fusion of reduce", "f32[8] pred[3]", "")
    assert twice.kind == "add"


def test_the_tiles_of_a_tpu() -> None:
    program = """
ENTRY %main (a: bf16[64,6,5,3]) -> bf16[16] {
  %a = bf16[64,6,5,3]{3,0,2,1:T(8,128)(2,1)} parameter(0)
  %copy = bf16[64,6,5,3]{0,3,2,1:T(8,128)(2,1)} copy(%a)
  %slice-start = ((bf16[64,6,5,3]{3,0,2,1:T(8,128)(2,1)}), bf16[9,6,5,3]{3,0,2,1:T(8,128)\
(2,1)S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:9], [0:6], [0:5], [0:3]}
  %slice-done = bf16[9,6,5,3]{3,0,2,1:T(8,128)(2,1)S(1)} slice-done(%slice-start)
  ROOT %short = bf16[16]{0:T(1024)(128)(2,1)} custom-call(), custom_call_target="Make"
}
"""
    moved = {x.name: x.moved for x in operations_of(program)}
    cells = 6 * 5
    assert moved == {
        # From 64 rows of 3 in 128 columns to 3 rows, in 8, of 64 in 128.
        "copy": 2 * cells * (64 * 128 + 8 * 128),
        # Read only: 9 rows take 16.
        "slice-start": 2 * cells * 16 * 128,
        "short": 2 * 1024,
    }


def test_what_is_updated_in_place() -> None:
    program = """
%fused (p: f32[1000], value: f32[2], at: s32[]) -> f32[1000] {
  %p = f32[1000]{0} parameter(0)
  %value = f32[2]{0} parameter(1)
  %at = s32[] parameter(2)
  ROOT %new = f32[1000]{0} dynamic-update-slice(%p, %value, %at)
}
ENTRY %main (a: f32[1000], b: f32[2], c: s32[]) -> f32[1000] {
  %a = f32[1000]{0} parameter(0)
  %b = f32[2]{0} parameter(1)
  %c = s32[] parameter(2)
  %alone = f32[1000]{0} dynamic-update-slice(%a, %b, %c)
  ROOT %fusion = f32[1000]{0} fusion(%alone, %b, %c), kind=kLoop, calls=%fused
}
"""
    moved = {x.name: x.moved for x in operations_of(program)}
    assert moved == {"alone": 2 * 8, "fusion": 2 * 8 + 4}


def test_a_program_of_jax() -> None:
    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        return x @ y

    sides = jnp.zeros((30, 20)), jnp.zeros((20, 50))
    compiled = jax.jit(product).lower(*sides).compile()
    largest, *_ = operations_of(compiled.as_text())
    assert largest.result == "f32[30,50]"
    assert largest.moved == 4 * (30 * 20 + 20 * 50 + 30 * 50)
    assert largest.source.endswith("dot_general")


def test_another_text() -> None:
    with pytest.raises(ValueError, match="not that of a compiled program"):
        operations_of("stablehlo")
