"""Layers whose numbers follow PyTorch's conventions, so that weights can move both ways."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Dtype = Any

BATCH_NORM_EPSILON = 1e-5
# PyTorch calls the share of the new value 0.1 "momentum".
BATCH_NORM_DECAY = 0.9
CLASSIFIER_STDDEV = 0.001
HE_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def convolution(
    features: int,
    kernel: int,
    *,
    stride: int = 1,
    name: str,
    dtype: Dtype,
    param_dtype: Dtype = jnp.float32,
) -> nn.Module:
    """A bias-free convolution padded by `kernel // 2`, with He initialization by fan-out."""
    types = {"dtype": dtype, "param_dtype": param_dtype}
    if kernel == 1:
        return PointwiseConvolution(features, stride, name=name, **types)
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=False,
        kernel_init=HE_INIT,
        name=name,
        **types,
    )


class PointwiseConvolution(nn.Module):
    """A 1×1 convolution, on CPUs as the matrix product that it is.

    The kernel is `[1, 1, C_in, C_out]`.

    XLA's CPU backend multiplies matrices much faster than it convolves. On GPUs and TPUs XLA fuses
    more of what is around a convolution, and on GPUs it aborts (jax 0.10 and 0.11) where the left
    side of a product is every other cell of a map.
    """

    features: int
    stride: int = 1
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, h, w, C_in]` to `[N, h/s, w/s, C_out]`."""
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", HE_INIT, shape, self.param_dtype)
        by_product = functools.partial(_pointwise_by_product, stride=self.stride)
        by_convolution = functools.partial(_pointwise_by_convolution, stride=self.stride)
        return jax.lax.platform_dependent(
            x.astype(self.dtype), kernel.astype(self.dtype), cpu=by_product, default=by_convolution
        )


def _pointwise_by_product(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """`[N, h, w, C]` by `[1, 1, C, D]` to `[N, h/s, w/s, D]`."""
    return _times(x[:, ::stride, ::stride], kernel[0, 0])


def _pointwise_by_convolution(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """The same."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class BatchNorm(nn.Module):
    """Batch normalization over every axis but the last `feature_axes`.

    Batch statistics are those of the whole (global) batch, computed in two passes in at least
    float32. The running variance is the unbiased one, as in PyTorch; flax keeps the biased one.

    Attributes:
        feature_axes: How many trailing axes have statistics of their own: 1 for `[N, h, w, C]`,
            2 for part embeddings `[N, P, C]` that are each normalized separately.
        train_bias: Whether the bias is a parameter. A neck's bias is not: it stays at its
            initial value and lives among the statistics, so that no optimizer ever sees it.
    """

    feature_axes: int = 1
    train_bias: bool = True
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, rows: jax.Array | None = None) -> jax.Array:
        """Normalizes `x`; with `train` by the batch's statistics, which the running ones follow.

        Args:
            x: `[N, …]`.
            train: Whether the batch's statistics are used, or the running ones.
            rows: Which rows the batch consists of, bool `[N]`: the others have no part in the
                statistics and become constants. None for all.
        """
        shape = x.shape[x.ndim - self.feature_axes :]
        if not self.is_initializing() and not self.has_variable("params", "scale"):
            return self._add_folded(x, train=train)
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        if self.train_bias:
            bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        else:
            bias = self.variable("batch_stats", "bias", jnp.zeros, shape, self.param_dtype).value
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)

        if not train:
            factor = scale * jax.lax.rsqrt(var.value + BATCH_NORM_EPSILON)
            offset = bias - mean.value * factor
            y = x.astype(self.param_dtype) * _expand(factor, x.ndim) + _expand(offset, x.ndim)
            return y.astype(self.dtype)

        if rows is not None:
            y, batch_mean, batch_var, number = _normalize_rows(x, rows, scale, bias)
            if not self.is_initializing():
                unbiased = batch_var * (number / jnp.maximum(number - 1, 1))
                share = jnp.where(number > 0, 1 - BATCH_NORM_DECAY, 0)
                mean.value = mean.value + share * (batch_mean - mean.value)
                var.value = var.value + share * (unbiased - var.value)
            return y.astype(self.dtype)
        y, batch_mean, batch_var = _normalize(x, scale, bias, self.dtype)
        if not self.is_initializing():
            count = x.size // batch_mean.size
            unbiased = batch_var * (count / max(count - 1, 1))
            mean.value = BATCH_NORM_DECAY * mean.value + (1 - BATCH_NORM_DECAY) * batch_mean
            var.value = BATCH_NORM_DECAY * var.value + (1 - BATCH_NORM_DECAY) * unbiased
        return y

    def _add_folded(self, x: jax.Array, *, train: bool) -> jax.Array:
        """What is left of the norm when `fold_norms` has put the rest into the convolution."""
        if train or not self.has_variable("params", "bias"):
            raise ValueError("A batch norm without its scale can only embed: it was folded.")
        bias: jax.Array = self.get_variable("params", "bias")
        return (x.astype(self.param_dtype) + _expand(bias, x.ndim)).astype(self.dtype)


class InstanceNorm(nn.Module):
    """Instance normalization of `[N, h, w, C]`: by the statistics of each image and channel alone.

    Ulyanov et al., "Instance Normalization: The Missing Ingredient for Fast Stylization", 2016,
    with the biased variance, a scale and a bias, as PyTorch's `InstanceNorm2d(affine=True)`. What
    multiplies a whole channel of an image or is added to it, such as a color cast, is gone after
    it.
    """

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalizes `x`, in training and after it alike."""
        del train
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), self.param_dtype)
        wide = x.astype(self.param_dtype)
        centered = wide - wide.mean((1, 2), keepdims=True)
        var = jnp.square(centered).mean((1, 2), keepdims=True)
        y = centered * jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
        return (y * _expand(scale, x.ndim) + _expand(bias, x.ndim)).astype(self.dtype)


class InstanceBatchNorm(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the others (IBN-a).

    Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV
    2018: the first half does not see the style of an image, the second half keeps what tells people
    apart.
    """

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, rows: jax.Array | None = None) -> jax.Array:
        """Normalizes `[N, h, w, C]`; see `BatchNorm` for `train` and `rows`."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        half = x.shape[-1] // 2
        alone = InstanceNorm(name="instance", **types)(x[..., :half], train=train)
        together = BatchNorm(name="batch", **types)(x[..., half:], train=train, rows=rows)
        return jnp.concatenate([alone, together], axis=-1)


def _normalize_rows(
    x: jax.Array, rows: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """As `_normalize`, of some rows: normalized, mean, biased variance, number of values each.

    The other rows become the bias, and nothing is differentiated through them.
    """
    axes = tuple(range(x.ndim - scale.ndim))
    counts = rows.reshape(rows.shape + (1,) * (x.ndim - 1))
    number = rows.sum() * (x.size // scale.size // x.shape[0])
    divisor = jnp.maximum(number, 1).astype(scale.dtype)
    wide = jnp.where(counts, x.astype(scale.dtype), 0)
    mean = wide.sum(axes) / divisor
    centered = jnp.where(counts, wide - _expand(mean, x.ndim), 0)
    var = jnp.square(centered).sum(axes) / divisor
    inverse = jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
    y = centered * _expand(scale * inverse, x.ndim) + _expand(bias, x.ndim)
    return y, jax.lax.stop_gradient(mean), jax.lax.stop_gradient(var), number


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, dtype: Dtype
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The normalized batch in `dtype`, and its mean and biased variance.

    The gradient is that of Ioffe and Szegedy, "Batch Normalization", ICML 2015, written out: two
    sums over the batch where differentiating the mean and the variance takes four. Mean and
    variance are for the running statistics; nothing is differentiated through them.
    """
    return _normalize_forward(x, scale, bias, dtype)[0]


def _normalize_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, dtype: Dtype
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
    axes = tuple(range(x.ndim - scale.ndim))
    wide = x.astype(scale.dtype)
    mean = wide.mean(axes)
    # Centring first keeps the digits that a product with a large mean would lose.
    centered = wide - _expand(mean, x.ndim)
    var = jnp.square(centered).mean(axes)
    inverse = jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
    y = centered * _expand(scale * inverse, x.ndim) + _expand(bias, x.ndim)
    return (y.astype(dtype), mean, var), (x, scale, mean, inverse)


def _normalize_backward(
    dtype: Dtype, kept: tuple[jax.Array, ...], gradients: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale, mean, inverse = kept
    axes = tuple(range(x.ndim - scale.ndim))
    count = x.size // scale.size
    dy = gradients[0].astype(scale.dtype)
    centered = x.astype(scale.dtype) - _expand(mean, x.ndim)
    bias_gradient = dy.sum(axes)
    scale_gradient = (dy * centered).sum(axes) * inverse
    slope = _expand(scale_gradient * inverse / count, x.ndim)
    dx = _expand(scale * inverse, x.ndim) * (
        dy - _expand(bias_gradient / count, x.ndim) - centered * slope
    )
    return dx.astype(x.dtype), scale_gradient, bias_gradient


_normalize.defvjp(_normalize_forward, _normalize_backward)


def relu(x: jax.Array) -> jax.Array:
    """The ReLU of what a norm or a sum gives."""
    # The gradient of nn.relu looks at x, which XLA computes anew for that on GPUs, where it reads
    # each of its terms again.
    return jax.lax.platform_dependent(x, cuda=_relu_by_result, default=nn.relu)


@jax.custom_vjp
def _relu_by_result(x: jax.Array) -> jax.Array:
    """The same, for GPUs: its gradient looks at its result, which is in memory anyway."""
    return nn.relu(x)


def _relu_by_result_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Without the barrier XLA computes the result itself anew.
    y = jax.lax.optimization_barrier(nn.relu(x))
    return y, y


def _relu_by_result_backward(y: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(y > 0, gradient, 0),)


_relu_by_result.defvjp(_relu_by_result_forward, _relu_by_result_backward)


class Classifier(nn.Module):
    """A linear layer with bias in full precision; with `parts`, one per part embedding."""

    features: int
    parts: int | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, C]` to `[N, K]`, or with parts `[N, P, C]` to `[N, P, K]`."""
        lead: Sequence[int] = () if self.parts is None else (self.parts,)
        init = nn.initializers.normal(CLASSIFIER_STDDEV)
        kernel = self.param("kernel", init, (*lead, x.shape[-1], self.features), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (*lead, self.features), self.param_dtype)
        subscripts = "nc,ck->nk" if self.parts is None else "npc,pck->npk"
        # Small beside the rest, and bf16 logits would blur the loss.
        return jnp.einsum(subscripts, x.astype(self.param_dtype), kernel) + bias[None]


class UpConvolution(nn.Module):
    """A transposed 3×3 convolution of stride 2 that doubles height and width exactly.

    The same as PyTorch's `ConvTranspose2d(k=3, stride=2, padding=1, output_padding=1,
    bias=False)`. Output row 2i is input row i through the middle tap; row 2i + 1 is input row i
    through the last tap plus row i + 1 through the first. The kernel is `[3, 3, C_in, C_out]`.
    """

    features: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[N, h, w, C_in]` to `[N, 2h, 2w, C_out]`."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", HE_INIT, shape, self.param_dtype)
        return jax.lax.platform_dependent(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            tpu=_double_by_convolution,
            default=_double_by_product,
        )


def _double_by_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`[N, h, w, C]` by `[3, 3, C, D]` to `[N, 2h, 2w, D]`, for CPUs and GPUs.

    One matrix product makes all nine taps at the input's size, and shifted sums place them. A
    dilated convolution would multiply four times as many numbers, mostly zeros.
    """
    channels, features = kernel.shape[2:]
    side_by_side = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    taps = _times(x, side_by_side).reshape(*x.shape[:-1], 3, 3, features)
    even = taps[:, :, :, 1]
    odd = taps[:, :, :, 2] + _next(taps[:, :, :, 0], axis=1)
    rows = jnp.stack([even, odd], axis=2)  # [N, h, 2, w, 3 (columns), D]
    even = rows[..., 1, :]
    odd = rows[..., 2, :] + _next(rows[..., 0, :], axis=3)
    full = jnp.stack([even, odd], axis=4)  # [N, h, 2, w, 2, D]
    n, h, _, w, _, d = full.shape
    return full.reshape(n, 2 * h, 2 * w, d)


def _double_by_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same as a convolution over the input with zeros in between.

    For TPUs, whose compiler plans less memory and less traffic for it than for the shifted sums.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((1, 2), (1, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def mean_of(values: jax.Array, rows: jax.Array | None) -> jax.Array:
    """The mean over the first axis, of the rows that count: `[N, …]` to `[…]`.

    Args:
        values: `[N, …]`.
        rows: bool `[N]`, or None for all; the mean of no rows is 0.
    """
    if rows is None:
        return values.mean(0)
    counts = rows.reshape(rows.shape + (1,) * (values.ndim - 1))
    divisor = jnp.maximum(rows.sum(), 1).astype(values.dtype)
    return jnp.where(counts, values, 0).sum(0) / divisor


def _times(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """`[..., C]` times `[C, D]`.

    As a product of two matrices: for the gradient of `matrix`, XLA's CPU backend then reads `x`
    and the incoming gradient as they lie. With more axes to sum over it writes a transposed copy,
    and computes what leads to the gradient a second time for it.
    """
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])


def _next(x: jax.Array, *, axis: int) -> jax.Array:
    """Row i becomes row i + 1 along `axis`; the last row becomes zero."""
    pad = [(0, 0)] * x.ndim
    pad[axis] = (0, 1)
    return jnp.pad(jax.lax.slice_in_dim(x, 1, None, axis=axis), pad)


def _expand(x: jax.Array, ndim: int) -> jax.Array:
    return jax.lax.expand_dims(x, range(ndim - x.ndim))
