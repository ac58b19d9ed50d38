"""A step in less memory is the same step."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from torch import nn

from trapline.core.errors import TraplineError
from trapline.learn import trial
from trapline.learn.memory import is_out_of_memory
from trapline.learn.optimizer import prime
from trapline.learn.processes import Processes
from trapline.learn.step import NotFinite, Stepper
from trapline.learn.transforms import Transform, to_input

CPU = torch.device("cpu")
SIZE, N = 16, 12
PIXELS = np.random.default_rng(0).integers(0, 255, (N, SIZE, SIZE, 3), dtype=np.uint8)
TARGETS = np.random.default_rng(1).integers(0, 4, N)
SEVERAL = np.random.default_rng(2).integers(0, 2, (N, 4)).astype(np.float32)


class Fragile(nn.Module):
    """Runs out of memory at the calls it is told to, forward or backward; else it is its inner model."""

    def __init__(self, inner, forward_at=(), backward_at=()):
        super().__init__()
        self.inner, self.forward_at, self.backward_at, self.calls = inner, forward_at, backward_at, 0

    def forward(self, x):
        self.calls += 1
        out = self.inner(x)
        if self.calls in self.forward_at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        if self.calls in self.backward_at:
            out.register_hook(self._fail)
        return out

    def _fail(self, gradient):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried")


def inner(norm=False, dropout=0.0):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).train()


def stepper(model, micro_batch=N, shrunk=None, lr=0.01):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
    prime(optimizer, "exp_avg", "exp_avg_sq")
    return Stepper(
        model,
        model,
        optimizer,
        torch.amp.GradScaler("cpu", enabled=False),
        prepare=lambda pixels: to_input(pixels, Transform(SIZE), CPU),
        autocast=contextlib.nullcontext,
        device=CPU,
        smoothing=0.1,
        clip_norm=5.0,
        micro_batch=micro_batch,
        processes=Processes(),
        shrunk=shrunk if shrunk is not None else lambda size: None,
    )


def trained(model, steps=4, targets=TARGETS, **kwargs):
    moving = stepper(model, **kwargs)
    losses = [moving.take(PIXELS, targets, of=N, seed=k) for k in range(steps)]
    return losses, {name: value.clone() for name, value in model.state_dict().items()}


def assert_close(one, other, atol=1e-6):
    losses, weights = zip(one, other, strict=True)
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name.replace("inner.", "")], atol=atol, rtol=1e-4)


@pytest.mark.parametrize("targets", [TARGETS, SEVERAL], ids=["one label", "several"])
@pytest.mark.parametrize("micro_batch", [1, 5, 7, 12, 100])
def test_gradients_of_parts_add_up_to_those_of_the_whole(micro_batch, targets):
    """Also against torch's own loss and optimiser, written out."""
    model = inner()
    reference = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.01)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        outputs = reference(to_input(PIXELS.copy(), Transform(SIZE), CPU))
        if targets.ndim == 1:
            loss = nn.functional.cross_entropy(outputs, torch.as_tensor(targets), label_smoothing=0.1)
        else:
            loss = nn.functional.binary_cross_entropy_with_logits(outputs, torch.as_tensor(targets * 0.9 + 0.05))
        loss.backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    expected = losses, reference.state_dict()
    assert_close(trained(model, micro_batch=micro_batch, targets=targets), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["forward_at", "backward_at"])
def test_running_out_of_memory_repeats_the_step_in_halves(kind):
    expected = trained(inner())
    sizes = []
    # Call 2 is step 2; that makes halves of 6: calls 3 and 4 are step 2 again, 6 is the second half of step 3.
    model = Fragile(inner(), **{kind: (2, 6)})
    assert_close(trained(model, shrunk=sizes.append), expected)
    assert sizes == [6, 3]


class Hungry(nn.Module):
    """Wants more memory than there are addresses, for more than `most` crops."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x):
        if len(x) > self.most:
            torch.empty(len(x), 1 << 46)
        return self.inner(x)


def test_a_real_refusal_of_memory_is_known():
    sizes = []
    assert_close(trained(Hungry(inner(), most=3), shrunk=sizes.append), trained(inner()))
    assert sizes == [6, 3]


def test_a_failed_attempt_leaves_no_statistics_behind():
    whole, broken = inner(norm=True), Fragile(inner(norm=True), forward_at=(1,), backward_at=(2,))
    found = trained(broken, steps=1, micro_batch=12)[1]
    expected = trained(whole, steps=1, micro_batch=3)[1]
    assert torch.equal(found["inner.1.running_mean"], expected["1.running_mean"])
    assert torch.equal(found["inner.1.running_var"], expected["1.running_var"])


def test_dropout_is_drawn_again_the_same():
    model = inner(dropout=0.5)
    moving = stepper(model)
    first = moving.gradients(PIXELS, TARGETS, of=N, seed=7)
    assert moving.gradients(PIXELS, TARGETS, of=N, seed=7) == first
    assert moving.gradients(PIXELS, TARGETS, of=N, seed=8) != first


def test_not_even_one_crop_fits():
    model = Fragile(inner(), forward_at=range(1, 100))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        TraplineError, match=r"does not hold a step with 1 crop\(s\) at a time \(CUDA out of .*--image-size.*--freeze"
    ):
        trained(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_other_errors_are_not_swallowed():
    model = Fragile(inner())
    vars(model)["_fail"] = lambda gradient: 1 / 0
    model.backward_at = (1,)
    with pytest.raises(ZeroDivisionError):
        trained(model)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize(("where", "what"), [("loss", "the loss is nan"), ("gradient", "a gradient is not a number")])
def test_what_is_no_number_changes_no_weight(where, what):
    model = inner()
    if where == "loss":
        model.append(nn.Module())
        vars(model[-1])["forward"] = lambda x: x * float("nan")
    else:
        next(model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(NotFinite, match=what):
        trained(model, steps=1)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_one_crop_has_no_statistics():
    """An odd batch in micro-batches of two would leave one crop alone, which BatchNorm refuses after pooling."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4)).train()
    moving = stepper(model, micro_batch=2)
    for n in (1, 3, 5):
        if n > 1:
            moving.take(PIXELS[:n], TARGETS[:n], of=n, seed=0)
    assert moving.micro_batch == 2


def test_the_micro_batch_for_a_cpu():
    assert trial.fitting(64, 1e6, None) == 64
    assert trial.fitting(64, 1e6, 10**9) == 64
    assert trial.fitting(64, 1e8, 10**9) == 4
    assert trial.fitting(50, 1e8, 2_600_000_000) == 13
    assert trial.fitting(64, 1e12, 10**9) == 1


def test_half_precision_has_to_be_clearly_faster():
    assert trial.choose({"fp32": 10.0, "bf16": 11.9}) == "fp32"
    assert trial.choose({"fp32": 10.0, "bf16": 12.0}) == "bf16"
    assert trial.choose({"fp32": 10.0}) == "fp32"


def test_a_trial_leaves_the_model_as_it_was():
    model = inner(norm=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    tried = trial.Trial(model, lambda precision, micro: stepper(model, micro), Transform(SIZE), CPU, TARGETS)
    with trial.rehearsal(model):
        assert tried.rehearse("fp32", 8) == 8
        assert tried.bytes_per_crop() > SIZE * SIZE * 3 * 4
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
