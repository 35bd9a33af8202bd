r"""Pretrains a model on video labels; finetune.py does the same on rated segments.

    python train.py --train_data_pattern='data/train*.tfrecord' --train_dir=runs/pretrain --model=mod_nextvlad \
        --rgb_eigenvalues=eigenvals.npy
"""

from youtube8m_mod.commands.train import run

if __name__ == "__main__":
    run()
