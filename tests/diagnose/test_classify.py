"""Every wording that was met in the wild leads to its cause, and the ones this PyTorch raises are raised here."""

from __future__ import annotations

import pytest

from bnguard._diagnose.classify import classify

CONTIGUOUS = "This error may appear if you passed in a non-contiguous input."

WORDINGS = [
    ("Expected more than 1 value per channel when training, got input size torch.Size([1, 4])", "one-value-per-channel", "RT101"),  # noqa: E501
    ("Expected more than 1 value per channel when training, got input size [1, 512, 1, 1]", "one-value-per-channel", "RT101"),  # noqa: E501
    ("Expected more than 1 spatial element when training, got input size torch.Size([2, 4, 1, 1])", "one-value-per-channel", "RT101"),  # noqa: E501
    (f"cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. {CONTIGUOUS}", "cudnn-not-supported", "RT102"),
    (f"CUDNN_STATUS_NOT_SUPPORTED. {CONTIGUOUS}", "cudnn-not-supported", "RT102"),  # 0.2
    ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED_LAYOUT", "cudnn-not-supported", "RT102"),  # cuDNN 9
    ("No valid engine configs for Norm_Fwd_", "cudnn-not-supported", "RT102"),
    ("[cudnn_frontend] Error: No execution plans support the graph.", "cudnn-not-supported", "RT102"),
    ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "cudnn-execution-failed", "RT102"),
    ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED_CUDART", "cudnn-execution-failed", "RT102"),
    ("CUDNN_STATUS_BAD_PARAM", "cudnn-bad-param", "RT102"),
    ("Check failed: status == CUDNN_STATUS_SUCCESS (3 vs. 0)  CUDNN_STATUS_BAD_PARAM", "cudnn-bad-param", "RT102"),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "cudnn-not-initialized", "RT102"),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "cudnn-internal-error", "RT102"),
    ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "cudnn-alloc-failed", "RT102"),
    ("cuDNN error: CUDNN_STATUS_MAPPING_ERROR", "cudnn-mapping-error", "RT102"),
    ("cuDNN error: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH", "cudnn-sublibrary-version-mismatch", "RT102"),
    ("mixed dtype (CPU): expect parameter to have scalar type of Float", "dtype-mismatch", "RT103"),
    ("mixed dtype (CPU): all inputs must share same datatype.", "dtype-mismatch", "RT103"),
    ("expected scalar type Half but found Float", "dtype-mismatch", "RT103"),
    ("Expected object of scalar type Float but got scalar type Half for argument #2 'weight'", "dtype-mismatch", "RT103"),  # noqa: E501
    ("Expected tensor for argument #1 'input' to have the same type as tensor for argument #2 'weight'; but type torch.cuda.HalfTensor does not equal torch.cuda.FloatTensor (while checking arguments for cudnn_batch_norm)", "dtype-mismatch", "RT103"),  # noqa: E501
    ("\"batch_norm\" not implemented for 'Long'", "dtype-mismatch", "RT103"),
    ("BatchNormalization_updateOutput is not implemented for type CUDAHalfType", "dtype-mismatch", "RT103"),
    ("running_mean should contain 3 elements not 4", "channel-mismatch", "RT104"),
    ("weight should contain 3 elements not 4", "channel-mismatch", "RT104"),
    ("expected input's size at dim=1 to match num_features (4), but got: 3.", "channel-mismatch", "RT104"),
    ("expected 4D input (got 2D input)", "rank-mismatch", "RT104"),
    ("expected 2D or 3D input (got 4D input)", "rank-mismatch", "RT104"),
    ("expected at least 2D input (got 1D input)", "rank-mismatch", "RT104"),
    ("final batch=1 training at imgsz=32 gives BatchNorm a single value per channel; change batch or use imgsz >= 64", "one-value-per-channel", "RT101"),  # noqa: E501 - Ultralytics
    ("batch=1 training at imgsz=32 gives BatchNorm a single value per channel; increase batch or use imgsz >= 64", "one-value-per-channel", "RT101"),  # noqa: E501
    ("you must have greater than 1 sample when training, due to the batchnorm in the projection layer", "one-value-per-channel", "RT101"),  # noqa: E501 - BYOL
    ("BatchNorm computes unbiased standard-deviation, which requires size > 1.", "one-value-per-channel", "RT101"),
    ("Batch normalization needs at least two samples in a batch", "one-value-per-channel", "RT101"),
    ("BatchNorm requires batch_size > 1 in training", "one-value-per-channel", "RT101"),
    ("Batch size must be greater than 1, since the model has batch norm layers", "one-value-per-channel", "RT101"),
    ("BatchNorm requires at least 2D input (N, C, ...)", "unknown", None),
    ("SyncBatchNorm requires at least 2 GPUs", "unknown", None),
    ("Batch normalization works better with a batch size of at least 16", "unknown", None),
    ("SyncBatchNorm expected input tensor to be on GPU", "unknown", None),
    ("at least 2 samples are needed to compute a covariance", "unknown", None),
    ("batch_norm eps must be positive during training, but got -1", "eps-not-positive", None),
    ("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total capacity)", "out-of-memory", None),
    ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", "out-of-memory", None),
    ("cuda runtime error (2) : out of memory at /opt/conda/THCStorage.cu:58", "out-of-memory", None),
    ("CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported at some other API call", "asynchronous-cuda", None),  # noqa: E501
    ("cuda runtime error (59) : device-side assert triggered at /pytorch/THCTensorMath.cu:26", "asynchronous-cuda", None),  # noqa: E501
    ("CUDA error: an illegal memory access was encountered", "asynchronous-cuda", None),
    ("mat1 and mat2 shapes cannot be multiplied (2x4 and 3x4)", "unknown", None),
    ("", "unknown", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "cause", "code"), WORDINGS, ids=[f"{w[1]}-{i}" for i, w in enumerate(WORDINGS)])
def test_each_wording_has_its_cause_and_code(text: str, cause: str, code: str | None) -> None:
    found = classify(text)
    assert (found.cause, found.code) == (cause, code)


def test_the_shape_is_read_from_both_spellings() -> None:
    assert classify(WORDINGS[0][0]).shape == (1, 4)
    assert classify(WORDINGS[1][0]).shape == (1, 512, 1, 1)
    assert classify("cuDNN error: CUDNN_STATUS_BAD_PARAM").shape is None


def test_the_status_word_is_kept_whole() -> None:
    assert (
        classify("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED_CUDART").status == "CUDNN_STATUS_EXECUTION_FAILED_CUDART"
    )
    assert classify(f"cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. {CONTIGUOUS}").status == "CUDNN_STATUS_NOT_SUPPORTED"


def test_a_place_is_not_trusted_where_an_earlier_kernel_may_have_failed() -> None:
    assert not classify("CUDA error: device-side assert triggered").reliable_place
    assert not classify("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED").reliable_place
    assert classify("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED").reliable_place


def test_the_type_alone_can_tell() -> None:
    assert classify("Tried to allocate 20.00 MiB", "OutOfMemoryError").cause == "out-of-memory"


def test_the_errors_of_this_pytorch() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    calls = [
        (nn.BatchNorm1d(4), torch.zeros(1, 4), "one-value-per-channel"),
        (nn.InstanceNorm2d(4), torch.zeros(2, 4, 1, 1), "one-value-per-channel"),
        (nn.GroupNorm(4, 4), torch.zeros(1, 4, 1, 1), "one-value-per-channel"),
        (nn.BatchNorm2d(4), torch.zeros(1, 4), "rank-mismatch"),
        (nn.SyncBatchNorm(4), torch.zeros(4), "rank-mismatch"),
        (nn.BatchNorm2d(4), torch.zeros(2, 3, 2, 2), "channel-mismatch"),
        (nn.BatchNorm2d(4, track_running_stats=False), torch.zeros(2, 3, 2, 2), "channel-mismatch"),
        (nn.GroupNorm(2, 4), torch.zeros(2, 3, 2, 2), "channel-mismatch"),
        (nn.BatchNorm2d(4).half(), torch.zeros(2, 4, 2, 2), "dtype-mismatch"),
        (nn.BatchNorm2d(4), torch.zeros(2, 4, 2, 2).double(), "dtype-mismatch"),
        (nn.BatchNorm2d(4), torch.zeros(2, 4, 2, 2).long(), "dtype-mismatch"),
    ]
    for layer, x, cause in calls:
        with pytest.raises((ValueError, RuntimeError)) as caught:
            layer(x)
        assert classify(str(caught.value), type(caught.value).__name__).cause == cause, caught.value
