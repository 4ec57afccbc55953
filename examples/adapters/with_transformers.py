"""A super-network of a small BERT, trained by transformers.Trainer with the sandwich rule.

python examples/adapters/with_transformers.py [steps]      needs: pip install 'netwright[transformers]'
"""

from __future__ import annotations

import sys
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

import netwright as nw
from netwright.adapters.transformers import SuperNetTrainer

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
torch.manual_seed(0)

config = BertConfig(
    vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
model = BertForSequenceClassification(config)
net = nw.families.bert(model, length=8)

# Sentences of eight words; the label says whether the first word is a rare one.
words = torch.randint(0, 32, (256, 8))
examples = [{"input_ids": ids, "labels": int(ids[0] >= 16)} for ids in words]

trainer = SuperNetTrainer(
    net=net,
    task=nw.tasks.Classification(),
    rule="sandwich,random=1",
    args=TrainingArguments(
        tempfile.mkdtemp(),
        max_steps=steps,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        report_to=[],
        logging_steps=10,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=examples,
)
trainer.train()

for name in ("largest", "smallest"):
    network = net.extract(getattr(net, name))
    with torch.no_grad():
        answers = network(input_ids=words).logits.argmax(1)
    print(f"{name}: {100 * float((answers == (words[:, 0] >= 16)).float().mean()):.0f} % right")
