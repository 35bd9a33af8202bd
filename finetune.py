r"""Finetunes a pretrained model on rated 5-frame segments, or trains one on them from scratch.

    python finetune.py --train_data_pattern='data/validate*.tfrecord' --pretrained_dir=runs/pretrain \
        --train_dir=runs/finetune
"""

from youtube8m_mod.commands.finetune import run

if __name__ == "__main__":
    run()
