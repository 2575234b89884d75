"""Pretrained weights that cannot be downloaded: the model that asks for them stays as it was made, at random.

A file that could not be downloaded is remembered by its path: what is then loaded from there is ``AbsentWeights``, and
a module that is given those loads nothing.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from torch import nn

from bnguard._stand_ins.network import is_download_failure, soon
from bnguard._stand_ins.once_imported import once_imported
from bnguard._untouched import intercept, replaced
from bnguard._usercode import whose

_OF_WEIGHTS = (".pt", ".pth", ".tar", ".ckpt", ".bin", ".pkl", ".safetensors", ".npz", "")
"""How files of weights end; what else could not be downloaded is missing to whoever reads it."""

_TRIES_AGAIN = 1
"""How often the Hugging Face Hub is asked again; it would be five times, for half a minute."""


class AbsentWeights(OrderedDict[str, Any]):
    """Stands for a state dict that was not downloaded: any key leads to more of the same, and can be deleted."""

    def __missing__(self, key: str) -> AbsentWeights:
        return AbsentWeights()

    def __delitem__(self, key: str) -> None:
        if key in self:
            super().__delitem__(key)

    def copy(self) -> AbsentWeights:
        """Return another of these: a plain dict would not let its keys be deleted."""
        return AbsentWeights(self)

    def pop(self, key: str, *default: Any) -> Any:  # noqa: ANN401 - as dict.pop
        """Give nothing for any key, as deleting the head's weights is the usual reason to ask."""
        return super().pop(key, *default) if default or key in self else None


@contextmanager
def absent_weights(tell: Callable[[str, str], object], *, fetch: bool) -> Iterator[None]:
    """Within the block weights that cannot be downloaded are left random.

    Args:
        tell: called with what was asked for and is absent, and what it got instead.
        fetch: whether to try at all; otherwise nothing is downloaded, and what was is not read, as shapes need none.

    """
    with ExitStack() as stack:
        downloads = _Downloads(tell, stack, fetch=fetch)
        stack.enter_context(once_imported(downloads.actions()))
        stack.enter_context(replaced(nn.Module, "load_state_dict", downloads.loading(nn.Module.load_state_dict)))
        yield


class _Downloads:
    """What takes the place of functions that fetch weights: each is given the original and its arguments."""

    def __init__(self, tell: Callable[[str, str], object], stack: ExitStack, *, fetch: bool) -> None:
        self._tell = tell
        self._stack = stack
        self._fetch = fetch
        self._absent: set[str] = set()
        self._missed = False
        self._whole = False
        """Whether a function is at work that has to know of a failure, as it cannot go on with nothing."""

    def actions(self) -> dict[str, Callable[[ModuleType], object]]:
        """Return what is to be done to each module that fetches or reads weights, once it is there."""
        hub: dict[str, Callable[..., Any]] = {"download_url_to_file": self._to_file, "load": self._from_hub}
        if not self._fetch:
            hub["load_state_dict_from_url"] = self._from_url
        answers: dict[str, dict[str, Callable[..., Any]]] = {
            "torch.hub": hub,
            "torch.serialization": {"load": self._read},
            "safetensors.torch": {"load_file": self._read},
            "timm.models._builder": {"load_pretrained": self._timm},
            "huggingface_hub.file_download": {"hf_hub_download": self._hugging_face},
            "huggingface_hub.utils._http": {"http_backoff": _try_less_often},
        }
        return {name: functools.partial(self._intercept, functions) for name, functions in answers.items()}

    def _intercept(self, answers: Mapping[str, Callable[..., Any]], module: ModuleType) -> None:
        for name, answer in answers.items():
            function = vars(module).get(name)
            if isinstance(function, FunctionType):
                intercept(self._stack, function, answer)

    def loading(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return a ``load_state_dict`` that loads nothing where it is given nothing."""

        @functools.wraps(original)
        def load_state_dict(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if self._holds_nothing(state_dict):
                return original(nn.Module(), {})  # what it gives where every key fits
            return original(module, state_dict, *args, **kwargs)

        return load_state_dict

    def _holds_nothing(self, state_dict: Any) -> bool:  # noqa: ANN401 - whatever the user gives
        if isinstance(state_dict, AbsentWeights) or (self._missed and not self._fetch):
            return True
        if not self._missed or not isinstance(state_dict, Mapping):
            return False
        return not state_dict or any(isinstance(value, AbsentWeights) for value in state_dict.values())

    def _miss(self, what: str) -> None:
        self._missed = True
        self._tell(f"weights of {what}", "random")

    def _attempt(self, what: str, download: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Download, or give what stands for it."""
        if self._fetch:
            try:
                with soon():
                    return download()
            except Exception as error:
                if self._whole or not is_download_failure(error):
                    raise
        self._miss(what)
        return otherwise()

    # ------------------------------------------------------------------ the functions

    def _from_url(self, _: Callable[..., Any], url: str, *__: Any, **___: Any) -> AbsentWeights:  # noqa: ANN401
        self._miss(url)
        return AbsentWeights()

    def _to_file(self, original: Callable[..., Any], url: str, dst: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        path = os.path.abspath(os.path.expanduser(dst))  # noqa: PTH100, PTH111 - links are not followed
        name = os.path.basename(path)  # noqa: PTH119
        if os.path.splitext(name)[1].lower() not in _OF_WEIGHTS:  # noqa: PTH122
            with soon():
                return original(url, dst, *args, **kwargs)
        download = functools.partial(original, url, dst, *args, **kwargs)
        return self._attempt(name, download, lambda: self._absent.add(path))

    def _read(self, original: Callable[..., Any], file: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if self._absent and isinstance(file, (str, os.PathLike)):
            path = os.path.abspath(os.fspath(file))  # noqa: PTH100
            if path in self._absent and not os.path.exists(path):  # noqa: PTH110
                return AbsentWeights()
        return original(file, *args, **kwargs)

    def _hugging_face(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        names = dict(zip(("repo_id", "filename"), args, strict=False)) | kwargs
        name = str(names.get("filename"))
        if os.path.splitext(name)[1] not in _OF_WEIGHTS[:-1] or not _asked_by_user():  # noqa: PTH122
            return original(*args, **kwargs)  # a library that asks knows what to do without
        path = os.path.join(tempfile.gettempdir(), "bnguard-absent", str(names.get("repo_id")), name)  # noqa: PTH118

        def absent() -> str:
            self._absent.add(path)
            return path

        return self._attempt(f"{names.get('repo_id')}", functools.partial(original, *args, **kwargs), absent)

    def _timm(self, original: Callable[..., Any], model: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        config = getattr(model, "pretrained_cfg", None)
        name = config.get("architecture") if isinstance(config, Mapping) else None
        self._whole = True
        try:
            with soon():
                if self._fetch:
                    return original(model, *args, **kwargs)
        except Exception as error:
            if not is_download_failure(error):
                raise
        finally:
            self._whole = False
        return self._miss(str(name or type(model).__name__))

    def _from_hub(self, original: Callable[..., Any], repo_or_dir: str, model: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Load a model of torch.hub; where the repository cannot be had, torchvision's is the one that is installed."""
        try:
            with soon():
                return original(repo_or_dir, model, *args, **kwargs)
        except Exception as error:
            if str(repo_or_dir).partition(":")[0] != "pytorch/vision" or not is_download_failure(error):
                raise
        models = import_module("torchvision.models")

        self._tell("pytorch/vision of torch.hub", "the installed torchvision")
        for name in ("source", "trust_repo", "force_reload", "verbose", "skip_validation"):
            kwargs.pop(name, None)
        return getattr(models, model)(*args, **kwargs)


def _try_less_often(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    return original(*args, **{**kwargs, "max_retries": _TRIES_AGAIN})


def _asked_by_user() -> bool:
    """Say whether it is the user's own code that has called a function of the Hugging Face Hub."""
    frame = sys._getframe(1)
    while frame is not None and (
        whose(frame.f_code.co_filename) == "bnguard" or "huggingface_hub" in frame.f_code.co_filename
    ):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and whose(frame.f_code.co_filename) == "user"
