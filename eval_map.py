r"""Scores a submission against rated segments (MAP@K, Eq. 8), video predictions against labels (GAP, Hit@1, PERR).

    python eval_map.py --submission_file=submission.csv --eval_data_pattern='data/test*.tfrecord' \
        --label_cache=rated_labels.csv.gz --output_file=map.json --plots=plots
    python eval_map.py --video_predictions_file=videos.csv --eval_data_pattern='data/test*.tfrecord'
"""

from youtube8m_mod.commands.eval_map import run

if __name__ == "__main__":
    run()
