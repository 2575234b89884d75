"""DL rules of whole epochs: batches of one by their size or division, and samples that are never shown."""

from __future__ import annotations

from collections.abc import Iterator

from bnguard import _remedies as remedies
from bnguard._facts.findings import Finding, Severity
from bnguard._facts.loaders import LoaderFact
from bnguard._rules.registry import Example, Rule
from bnguard._rules.single_sample import (
    finding_of,
    gravity_of,
    is_in_a_piece,
    only_batches_of_one,
    samples_of_the_step,
    samples_text,
    with_model,
)
from bnguard._rules.ways_out import for_batches_of_one

_LARGE_SHARE = 0.1
"""DL108 speaks from this share of discarded samples on."""


def _check_batch_size_one(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.mode == "train" and only_batches_of_one(fact):
        steps = fact.steps or 0
        every = f"all {steps:,} batches hold 1 sample" if steps > 1 else "the only batch holds 1 sample"
        cause = f"{every} (batch_size=1), and drop_last does not help"
        yield finding_of(fact, rule, cause, *for_batches_of_one(world_size=fact.world_size, samples=fact.samples))


def _check_inside(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if not is_in_a_piece(fact):
        return
    single = fact.first_single
    assert single is not None
    step = f"step {single.step:,} of {single.steps:,}"
    if single.size == 1:
        total = samples_of_the_step(fact)
        cause = f"{step} holds {samples_text(total)} for {fact.world_size:,} ranks, and rank {single.rank:,} gets 1"
        does = f"use a batch size of at least {2 * fact.world_size:,}, two samples a rank"
    else:
        who, whole = _replica_words(fact)
        rank = f" on rank {single.rank:,}" if fact.world_size > 1 else ""
        cause = f"{step}{rank} holds {single.size:,} samples, and {who} gets 1 ({whole})"
        does = "choose a batch size whose pieces, tail included, hold two samples or more"
    yield finding_of(fact, rule, cause, remedies.BATCH_SIZE.for_case(does, price=""), severity=gravity_of(fact, rule))


def _replica_words(fact: LoaderFact) -> tuple[str, str]:
    single = fact.first_single
    assert single is not None
    words = []
    if single.micro_batch is not None:
        words.append(f"micro-batch {single.micro_batch}")
    if single.replica is None:
        return words[0], f"{fact.micro_batches:,} micro-batches"
    words.append(f"replica {single.replica}")
    scattered = [r for s in fact.streams for r, _ in s.replica_batches or () if 1 in r]
    shown = ", ".join(str(size) for size in scattered[0][:8]) + (", …" if len(scattered[0]) > 8 else "")
    return " of ".join(reversed(words)), f"{fact.replicas:,} replicas get {shown}"


def _check_no_batch(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if fact.unknown or fact.samples is None or fact.steps != 0:
        return
    if fact.samples == 0:
        yield finding_of(
            fact,
            rule,
            "no batch at all: it has no samples",
            remedies.MORE_SAMPLES.for_case("give this part at least two samples"),
        )
        return
    why, way = ", and its sampler gives none", remedies.MORE_SAMPLES.for_case("give each rank two samples or more")
    if fact.batch_size and fact.drop_last:
        why, way = f", fewer than batch_size={fact.batch_size:,} with drop_last=True", remedies.KEEP_TAIL.for_case()
    if fact.world_size > 1:
        why += f" on each of {fact.world_size:,} ranks"
    yield finding_of(fact, rule, f"no batch at all: {samples_text(fact.samples)}{why}", way)


def _check_large_loss(fact: LoaderFact, rule: Rule) -> Iterator[Finding]:
    if not fact.samples or not fact.unused or not fact.steps:
        return
    share = fact.unused / fact.samples
    if share >= _LARGE_SHARE:
        loss = "an epoch never shows" if fact.mode == "train" else "the evaluation leaves out"
        cause = f"{loss} {fact.unused:,} of {samples_text(fact.samples)} ({share:.1%})"
        way = remedies.BATCH_SIZE.for_case("choose a batch size that leaves out less", price="")
        if fact.drop_last and not fact.workers:
            does = "balance the batches instead of dropping the last one"
            way = remedies.BALANCE.for_case(does, name=fact.name_in_code)
        yield finding_of(fact, rule, cause, way)


RULES: list[Rule] = [
    Rule(
        code="DL103",
        name="batch-size-one",
        severity=Severity.ERROR,
        summary="every training batch holds one sample",
        why="""
        With batch_size=1, or a sampler that yields one index at a time, every step gives BatchNorm a single sample.
        Layers with one value per channel raise at the first step; all others normalise each image by itself, which is
        InstanceNorm in training and something else in eval mode. Gradient accumulation does not change this: each
        forward still sees one sample. A BatchSampler passed as sampler= instead of batch_sampler= ends here as well.
        """,
        fix="""
        Where memory allows one sample only, freeze the layers of a pretrained model, or use a normalisation that does
        not cross samples. drop_last=True changes nothing.
        """,
        needs="loader",
        remedies=(remedies.LARGER_BATCHES, remedies.FREEZE, remedies.GROUP_NORM),
        example=Example(
            wrong="train_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=1)",
            right="train_loader = DataLoader(TensorDataset(torch.randn(10, 4)), batch_size=2)",
        ),
        check_loader=_check_batch_size_one,
        check_forecast=with_model(_check_batch_size_one),
    ),
    Rule(
        code="DL104",
        name="lone-sample-in-a-piece",
        severity=Severity.ERROR,
        summary="a replica, a rank or a micro-batch gets one sample, though the batch holds more",
        why="""
        nn.DataParallel cuts each batch with torch.chunk and gives every replica a BatchNorm of its own: 9 samples on 8
        devices are 2, 2, 2, 2, 1. Full batches can break too, not only the tail: with 4 replicas that is 1, 2, 3, 4, 5,
        7, 10 and 13 samples. Accelerate's split_batches, its dispatcher and pipeline micro-batches cut batches in the
        same way.
        """,
        fix="""
        Choose a batch size whose pieces, and the pieces of its tail, hold two samples or more; a multiple of twice the
        number of pieces does for full batches. Fewer replicas help too. DistributedDataParallel with SyncBatchNorm
        counts the samples of all ranks.
        """,
        needs="loader",
        remedies=(remedies.BATCH_SIZE, remedies.FEWER_REPLICAS, remedies.SYNC_BATCHNORM),
        headline="a piece of a batch holds one sample",
        example=Example(
            wrong="""
            train_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=16)
            replicas = 8  # nn.DataParallel on eight devices: 2, 2, 2, 2, 1
            """,
            right="""
            train_loader = DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=16)
            replicas = 8  # two samples each
            """,
        ),
        check_loader=_check_inside,
        check_forecast=with_model(_check_inside),
    ),
    Rule(
        code="DL105",
        name="no-batch-at-all",
        severity=Severity.ERROR,
        summary="no batch at all: fewer samples than batch_size with drop_last=True",
        why="""
        drop_last=True drops every batch that is not full. With fewer samples than batch_size, on each rank or in each
        worker, that is the only batch: the loop over the loader ends at once, nothing trains, no error is raised, and
        an average over zero batches is NaN or a division by zero. Rounding can also leave a part of a split without any
        sample.
        """,
        fix="""
        Set drop_last=False, choose a batch size of at most the number of samples a rank gets, or give this part of the
        split more samples.
        """,
        needs="loader",
        remedies=(remedies.KEEP_TAIL, remedies.MORE_SAMPLES),
        headline="no batch at all",
        example=Example(
            wrong="train_loader = DataLoader(TensorDataset(torch.randn(5, 4)), batch_size=8, drop_last=True)",
            right="train_loader = DataLoader(TensorDataset(torch.randn(5, 4)), batch_size=8)",
        ),
        check_loader=_check_no_batch,
    ),
    Rule(
        code="DL108",
        name="large-share-dropped",
        severity=Severity.WARNING,
        summary="drop_last discards a large share of a small dataset",
        why="""
        drop_last=True leaves out up to batch_size - 1 samples of every epoch, on each rank and in each worker. On a
        large dataset that is nothing; on a small one it is a tenth of the data or more. In evaluation the same samples
        are missing every time, and the metric is that of another dataset.
        """,
        fix="""
        Keep the samples: spread them evenly over the batches, or choose a batch size that divides their number more
        closely.
        """,
        needs="loader",
        remedies=(remedies.BALANCE, remedies.BATCH_SIZE),
        headline="no batch of one sample, but much of the data is dropped",
        counts_unused=True,
        example=Example(
            wrong="train_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8, drop_last=True)",
            right="""
            train_loader = DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8)
            train_loader = bnguard.repair.balance(train_loader)
            """,
        ),
        check_loader=_check_large_loss,
    ),
]
