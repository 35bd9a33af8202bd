r"""Localises concepts in videos: candidates, segment scores, value model, ranked lists (section 3.1).

    python inference.py --train_dir=runs/finetune --input_data_pattern='data/test*.tfrecord' \
        --output_file=submission.csv --video_predictions_file=videos.csv

Stopped, it continues with the same command. --ray_address=auto spreads the files over a Ray cluster.
"""

from youtube8m_mod.commands.inference import run

if __name__ == "__main__":
    run()
