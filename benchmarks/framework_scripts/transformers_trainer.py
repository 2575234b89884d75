"""Transformers: a ResNet under its Trainer; the loader is repaired in get_train_dataloader, as it was prepared."""

import tempfile

import torch
from _use import allowed, merged, train
from torch.utils.data import DataLoader
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments


class Own(Trainer):
    def get_train_dataloader(self) -> DataLoader:
        return merged(super().get_train_dataloader())


def main() -> None:
    torch.manual_seed(0)
    data = [{"pixel_values": torch.randn(3, 8, 8), "labels": i % 2} for i in range(17)]
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], layer_type="basic", num_labels=2
    )
    model = allowed(ResNetForImageClassification(config))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=8,
            num_train_epochs=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = Own(model=model, args=arguments, train_dataset=data)
        train(trainer.train, model, trainer.get_train_dataloader)


if __name__ == "__main__":
    main()
