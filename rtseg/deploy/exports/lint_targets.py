"""Which ONNX operators some programs take, as their own documentation lists them."""

from dataclasses import dataclass

_TENSORRT = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BlackmanWindow Cast
CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace
DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu
Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU HammingWindow
HannWindow HardSigmoid HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min
Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow PRelu QuantizeLinear RandomNormal RandomNormalLike
RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RMSNormalization RNN RoiAlign
RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh TensorScatter ThresholdedRelu Tile TopK
Transpose Trilu Unsqueeze Upsample Where Xor
"""
_WEBGPU = """
Abs Acos Acosh Add ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip Concat Conv
ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid
HardSwish If InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log MatMul MaxPool Mul Neg Not Pad Pow
Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize ScatterND Shape Sigmoid Sin Sinh Slice Softmax Split Sqrt Squeeze Sub Tan Tanh
ThresholdedRelu Tile Transpose Unsqueeze Where
"""


@dataclass(frozen=True)
class Target:
    """A program that reads ONNX.

    Attributes:
        source: which list of which version, and its date.
        operators: those that it takes.
        uint8: those that it takes with uint8 as well; None where the list does not say.
        fate: what becomes of the others.
        repair: what to do about others.
        uint8_repair: what to do about uint8.
    """

    source: str
    operators: frozenset[str]
    uint8: frozenset[str] | None
    fate: str
    repair: str
    uint8_repair: str = ""


TARGETS = {
    "tensorrt": Target(
        "TensorRT 10.15, docs/operators.md of onnx-tensorrt, 2026-02",
        frozenset(_TENSORRT.split()),
        frozenset({"Cast", "CastLike"}),
        "TensorRT refuses the file",
        "Export another attention, or write a plug-in of TensorRT.",
        "Exchange the file's first two nodes: Cast before Transpose. The engine tensorrt of rtseg does so by itself.",
    ),
    "webgpu": Target(
        "onnxruntime-web 1.30.0, docs/webgpu-operators.md, 2026-11",
        frozenset(_WEBGPU.split()),
        None,
        "the browser runs them on the CPU, with copies there and back",
        "A file of open size computes on sizes: export with --input-size. Or export another attention.",
    ),
}
