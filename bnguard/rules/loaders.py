"""DL1xx: what the batch sizes of a loader mean for BatchNorm. Each rule judges one ``LoaderFact``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnguard.findings import Finding, Severity
from bnguard.loader_facts import TIMES, LoaderFact
from bnguard.rules.in_view import AFTER_EVAL, with_model
from bnguard.rules.registry import Catalogue, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LARGE_SHARE = 0.1
"""DL108 speaks from this share of discarded samples on."""

SMALL_TAIL = 4
"""DL107 speaks where the tail is smaller than the other batches by more than this factor."""


def _finding(fact: LoaderFact, rule: Rule, message: str, fix: str, severity: Severity | None = None) -> Finding:
    return Finding(
        code=rule.code,
        severity=rule.severity if severity is None else severity,
        message=f"{fact.name}: {message}",
        fix=fix,
        loader=fact.name,
        location=fact.source,
    )


def _samples(count: int) -> str:
    return f"{count:,} sample{'s' * (count != 1)}"


def _where(fact: LoaderFact) -> str:
    """Return the place of the first lone sample: ``step 2 of 2 on each of 4 ranks``."""
    lone = fact.first_single
    assert lone is not None
    text = f"step {lone.step:,} of {lone.steps:,}"
    if fact.world_size > 1:
        stream = next(s for s in fact.streams if s.ranks[0] <= lone.rank <= s.ranks[1])
        everyone = stream.ranks == (0, fact.world_size - 1)
        each = f"each of {fact.world_size:,} ranks"
        text += f" on {each if everyone else f'rank {lone.rank:,} of {fact.world_size:,}'}"
    if lone.worker is not None:
        text += f", from worker {lone.worker},"
    return text


def _per_rank(fact: LoaderFact) -> int:
    """Return how many samples the rank with the first lone sample gets in all."""
    lone = fact.first_single
    return sum(s.total * s.width for s in fact.streams if lone and s.ranks[0] <= lone.rank <= s.ranks[1])


def _why(fact: LoaderFact) -> str:
    """Return the arithmetic behind a tail of one, where there is one batch size."""
    if not fact.batch_size or fact.batch_size == 1 or fact.samples is None:
        return "as the batch sampler yields it"
    if fact.divided:
        return f"{fact.samples:,} samples in batches of {fact.batch_size:,} for all ranks together"
    mine = _per_rank(fact)
    if mine % fact.batch_size != 1 or any(s.steps > 1 and len(s.batches) > 2 for s in fact.streams):
        return f"{fact.samples:,} samples, batch size {fact.batch_size:,}"
    of = f" of the {fact.samples:,}" if fact.world_size > 1 and mine != fact.samples else ""
    if mine == 1:
        return f"it is the only sample{of and ' of this rank'}"
    full = mine // fact.batch_size
    return f"{mine:,} samples{of} are {full:,} {TIMES} {fact.batch_size:,} + 1"


def _inside(fact: LoaderFact) -> bool:
    """Whether the lone sample is a replica's, a micro-batch's or a rank's share of a larger batch."""
    lone = fact.first_single
    return lone is not None and (lone.size > 1 or (fact.divided and _step_total(fact) > 1))


def _step_total(fact: LoaderFact) -> int:
    """Return how many samples all ranks together get at the step of the first lone sample."""
    lone = fact.first_single
    total = 0
    for stream in fact.streams:
        before = 0
        for size, count in stream.batches:
            if lone and before < lone.step <= before + count:
                total += size * (stream.ranks[1] - stream.ranks[0] + 1)
            before += count
    return total


def _all_ones(fact: LoaderFact) -> bool:
    """Whether every batch holds one sample because of the batch size, not because few are left."""
    if fact.unknown or not fact.streams or any(size != 1 for s in fact.streams for size, _ in s.batches):
        return False
    if fact.divided:
        return False  # a rank's share of a larger batch: DL104
    steps = max(s.steps for s in fact.streams)
    return steps > 0 and (fact.batch_size == 1 or (fact.batch_size is None and steps > 1))


def _lone_tail(fact: LoaderFact) -> bool:
    return fact.first_single is not None and not _inside(fact) and not _all_ones(fact)


def _check_train_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode != "train" or not _lone_tail(fact) or _from_worker(fact):
        return
    fix = "merge the lone sample into the batch before it, nothing is lost: bnguard.repair.merge_tail(loader)"
    if fact.first_single and fact.first_single.steps == 1:
        fix = "give this loader more samples, or let BatchNorm take one: bnguard.repair.allow_single_sample(model)"
    elif len({s.ranks for s in fact.streams}) > 1:
        fix = "choose a batch size that leaves no lone sample, or let the last round be filled up"
    yield _finding(fact, rule, f"{_where(fact)} holds 1 sample ({_why(fact)})", fix)


def _check_eval_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode == "eval" and _lone_tail(fact) and not _from_worker(fact):
        message = f"{_where(fact)} holds 1 sample ({_why(fact)}){AFTER_EVAL}"
        yield _finding(fact, rule, message, "call model.eval() before this loader, and keep its last sample")


def _check_batch_size_one(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode == "train" and _all_ones(fact):
        steps = fact.steps or 0
        every = f"all {steps:,} batches hold 1 sample" if steps > 1 else "the only batch holds 1 sample"
        message = f"{every} (batch_size=1), and drop_last does not help"
        fix = "raise batch_size to 2 or more, or freeze the BatchNorm layers: bnguard.repair.freeze(model)"
        yield _finding(fact, rule, message, fix)


def _check_inside(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if not _inside(fact):
        return
    lone = fact.first_single
    assert lone is not None
    step = f"step {lone.step:,} of {lone.steps:,}"
    if lone.size == 1:
        total = _step_total(fact)
        message = f"{step} holds {_samples(total)} for {fact.world_size:,} ranks, and rank {lone.rank:,} gets 1"
        fix = f"use a batch size of at least {2 * fact.world_size:,}, two samples a rank"
    else:
        who, whole = _replica_words(fact)
        rank = f" on rank {lone.rank:,}" if fact.world_size > 1 else ""
        message = f"{step}{rank} holds {lone.size:,} samples, and {who} gets 1 ({whole})"
        fix = "choose a batch size whose pieces, tail included, hold two samples or more"
    severity = rule.severity
    if fact.mode == "eval":
        severity = Severity.WARNING
        message += AFTER_EVAL
    yield _finding(fact, rule, message, fix, severity)


def _replica_words(fact: LoaderFact) -> tuple[str, str]:
    lone = fact.first_single
    assert lone is not None
    words = []
    if lone.micro_batch is not None:
        words.append(f"micro-batch {lone.micro_batch}")
    if lone.replica is None:
        return words[0], f"{fact.micro_batches:,} micro-batches"
    words.append(f"replica {lone.replica}")
    scattered = [r for s in fact.streams for r, _ in s.replica_batches or () if 1 in r]
    shown = ", ".join(str(size) for size in scattered[0][:8]) + (", …" if len(scattered[0]) > 8 else "")
    return " of ".join(reversed(words)), f"{fact.replicas:,} replicas get {shown}"


def _check_no_batch(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.unknown or fact.samples is None or fact.steps != 0:
        return
    if fact.samples == 0:
        yield _finding(fact, rule, "no batch at all: it has no samples", "give this part at least two samples")
        return
    size = f", fewer than batch_size={fact.batch_size:,} with drop_last=True" if fact.batch_size else ""
    if fact.world_size > 1:
        size += f" on each of {fact.world_size:,} ranks"
    message = f"no batch at all: {_samples(fact.samples)}{size}"
    yield _finding(fact, rule, message, "set drop_last=False, or choose a smaller batch size")


def _check_worker_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if not _from_worker(fact) or _inside(fact) or _all_ones(fact):
        return
    lone = fact.first_single
    assert lone is not None
    last = max(s.workers[1] for s in fact.streams if s.workers and (1, 1) in s.batches)
    many = f"workers {lone.worker} to {last} each end" if last != lone.worker else f"worker {lone.worker} ends"
    message = f"{many} with a batch of 1 sample, first at step {lone.step:,} of {lone.steps:,}"
    message += f" ({fact.workers:,} worker{'s' * (fact.workers != 1)}, each with batches of its own)"
    severity = rule.severity
    if fact.mode == "eval":
        severity = Severity.WARNING
        message += AFTER_EVAL
    fix = "merge it into the batch before it, in each worker, nothing is lost: bnguard.repair.merge_tail(loader)"
    yield _finding(fact, rule, message, fix, severity)


def _from_worker(fact: LoaderFact) -> bool:
    return fact.first_single is not None and fact.first_single.worker is not None


def _check_small_tail(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode != "train" or fact.first_single or fact.batch_size is None:
        return
    for stream in fact.streams:
        if len(stream.batches) < 2 or stream.batches[-1][1] != 1:
            continue
        full, tail = stream.batches[0][0], stream.batches[-1][0]
        if tail > 1 and tail * SMALL_TAIL < full:
            message = f"the tail batch holds {tail:,} samples, the others {full:,}: its statistics are noisier"
            fix = "balance the batches if the last step of an epoch is unstable: bnguard.repair.balance(loader)"
            yield _finding(fact, rule, message, fix)
            return


def _check_large_loss(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if not fact.samples or not fact.unused or not fact.steps:
        return
    share = fact.unused / fact.samples
    if share >= LARGE_SHARE:
        loss = "an epoch never shows" if fact.mode == "train" else "the evaluation leaves out"
        message = f"{loss} {fact.unused:,} of {_samples(fact.samples)} ({share:.1%})"
        fix = "balance the batches instead of dropping the last one, nothing is lost: bnguard.repair.balance(loader)"
        yield _finding(fact, rule, message, fix)


RULES: list[Rule] = [
    Rule(
        code="DL101",
        name="lone-sample-in-training",
        severity=Severity.ERROR,
        summary="a training loader's tail batch holds exactly one sample",
        headline="a batch of one sample comes in training",
        headline_at="a batch of one sample comes at step {step} of {steps}",
        why="""
        The last batch of an epoch holds what is left over: n % batch_size samples. Where that is 1,
        a BatchNorm layer in training mode takes its mean and variance over a single sample. After a
        Linear layer or global pooling that is one value per channel, and PyTorch raises "Expected
        more than 1 value per channel when training". With larger feature maps nothing is raised,
        and the running statistics learn from one image.

        The crash comes at the end of the first epoch, hours in, and it comes and goes as samples
        are added to the dataset. With DistributedSampler a tail of one reaches every rank at the
        same step.
        """,
        fix="""
        Merge the lone sample into the batch before it, or spread all samples evenly over the
        batches: nothing is lost, and no batch grows by more than one. bnguard.repair.merge_tail(loader)
        and balance(loader) do that for any DataLoader, and `bnguard fix` writes the call into a script.
        Another batch size works as long as the dataset keeps its size.

        drop_last=True removes the tail and loses n % batch_size samples of every epoch; shuffling
        makes them others each time. It yields no batch at all when n < batch_size, and it does not
        help when batch_size is 1.
        """,
        check_loader=_check_train_tail,
        check_forecast=with_model(_check_train_tail),
    ),
    Rule(
        code="DL102",
        name="lone-sample-in-evaluation",
        severity=Severity.WARNING,
        summary="an evaluation loader's tail batch holds exactly one sample: safe only with model.eval()",
        headline="a batch of one sample comes in evaluation, safe only after model.eval()",
        why="""
        In eval mode BatchNorm uses its running statistics, and one sample is as good as many. The
        batch breaks only where the model is still in training mode, because model.eval() was
        forgotten or undone, or where a layer has track_running_stats=False and uses batch
        statistics in both modes.
        """,
        fix="""
        Call model.eval() before the loop and model.train() after it. Do not set drop_last=True on
        an evaluation loader: the metrics would leave out samples.
        """,
        check_loader=_check_eval_tail,
        check_forecast=with_model(_check_eval_tail),
    ),
    Rule(
        code="DL103",
        name="batch-size-one",
        severity=Severity.ERROR,
        summary="every training batch holds one sample",
        why="""
        With batch_size=1, or a sampler that yields one index at a time, every step gives BatchNorm
        a single sample. Layers with one value per channel raise at the first step; all others
        normalise each image by itself, which is InstanceNorm in training and something else in eval
        mode. Gradient accumulation does not change this: each forward still sees one sample. A
        BatchSampler passed as sampler= instead of batch_sampler= ends here as well.
        """,
        fix="""
        Raise batch_size to 2 or more. Where memory allows one sample only, freeze the BatchNorm
        layers of a pretrained model with bnguard.repair.freeze(model), or use a normalisation that
        does not cross samples: bnguard.repair.to_group_norm(model).
        drop_last=True changes nothing.
        """,
        check_loader=_check_batch_size_one,
        check_forecast=with_model(_check_batch_size_one),
    ),
    Rule(
        code="DL104",
        name="lone-sample-in-a-piece",
        severity=Severity.ERROR,
        summary="a replica, a rank or a micro-batch gets one sample, though the batch holds more",
        headline="a piece of a batch holds one sample",
        why="""
        nn.DataParallel cuts each batch with torch.chunk and gives every replica a BatchNorm of its
        own: 9 samples on 8 devices are 2, 2, 2, 2, 1. Full batches can break too, not only the
        tail: with 4 replicas that is 1, 2, 3, 4, 5, 7, 10 and 13 samples. Accelerate's
        split_batches, its dispatcher and pipeline micro-batches cut batches in the same way.
        """,
        fix="""
        Choose a batch size whose pieces, and the pieces of its tail, hold two samples or more; a
        multiple of twice the number of pieces does for full batches. Fewer replicas help too.
        DistributedDataParallel with SyncBatchNorm counts the samples of all ranks.
        """,
        check_loader=_check_inside,
        check_forecast=with_model(_check_inside),
    ),
    Rule(
        code="DL105",
        name="no-batch-at-all",
        severity=Severity.ERROR,
        summary="no batch at all: fewer samples than batch_size with drop_last=True",
        headline="no batch at all",
        why="""
        drop_last=True drops every batch that is not full. With fewer samples than batch_size, on
        each rank or in each worker, that is the only batch: the loop over the loader ends at once,
        nothing trains, no error is raised, and an average over zero batches is NaN or a division by
        zero. Rounding can also leave a part of a split without any sample.
        """,
        fix="""
        Set drop_last=False, choose a batch size of at most the number of samples a rank gets, or
        give this part of the split more samples.
        """,
        check_loader=_check_no_batch,
    ),
    Rule(
        code="DL106",
        name="lone-sample-from-a-worker",
        severity=Severity.ERROR,
        summary="a worker's tail batch of an IterableDataset holds one sample",
        headline="a worker's tail holds one sample",
        why="""
        With an IterableDataset every worker process batches the samples it yields itself, so each
        worker has a tail of its own, and the tails arrive before the end of the epoch. n %
        batch_size says nothing about them, and len(loader) ignores workers.
        """,
        fix="""
        bnguard.repair.merge_tail(loader) lets every worker hold one batch back and join its tail to
        it. Another batch size or number of workers may do as well. drop_last=True loses the tail of
        every worker.
        """,
        check_loader=_check_worker_tail,
        check_forecast=with_model(_check_worker_tail),
    ),
    Rule(
        code="DL107",
        name="small-tail",
        severity=Severity.NOTE,
        summary="the tail batch is much smaller than the others",
        why="""
        A tail of a few samples does not raise, yet its mean and variance are noisy, and they count
        as much as those of a full batch in the running statistics and in the optimizer step. Some
        training runs show a spike at the end of each epoch for this reason.
        """,
        fix="""
        Spread the samples evenly over the batches with bnguard.repair.balance(loader), or use
        drop_last=True where the dataset is large enough that the loss does not matter.
        """,
        check_loader=_check_small_tail,
    ),
    Rule(
        code="DL108",
        name="large-share-dropped",
        severity=Severity.WARNING,
        summary="drop_last discards a large share of a small dataset",
        headline="no batch of one sample, but much of the data is dropped",
        why="""
        drop_last=True leaves out up to batch_size - 1 samples of every epoch, on each rank and in
        each worker. On a large dataset that is nothing; on a small one it is a tenth of the data or
        more. In evaluation the same samples are missing every time, and the metric is that of
        another dataset.
        """,
        fix="""
        Keep the samples: spread them evenly over the batches, or choose a batch size that divides
        their number more closely.
        """,
        check_loader=_check_large_loss,
        tells_unused=True,
    ),
]


def judge(facts: Iterable[LoaderFact]) -> tuple[Finding, ...]:
    """Return what the rules of this file say of these loaders: all that any rule says of a loader."""
    return Catalogue(RULES).judge(loaders=facts)
