# Data: 1.5 TB of frame-level features (https://research.google.com/youtube8m/download.html). Each line goes on where it
# was stopped. Partitions 2 have video labels, partition 3 has the rated segments, as the original used them.
mkdir -p data/2/train data/2/validate data/3/validate data/3/test
(cd data/2/train && curl data.yt8m.org/download.py | partition=2/frame/train mirror=us python)
(cd data/2/validate && curl data.yt8m.org/download.py | partition=2/frame/validate mirror=us python)
(cd data/3/validate && curl data.yt8m.org/download.py | partition=3/frame/validate mirror=us python)
(cd data/3/test && curl data.yt8m.org/download.py | partition=3/frame/test mirror=us python)
curl data.yt8m.org/yt8m_pca.tgz | tar xz -C data  # eigenvals.npy
# data/segment_label_ids.csv: the 1000 segment classes, from the challenge's page or the starter code's repository.

# Table 1, Dummy prediction [dummy]; paper: private 0.64809, public 0.66188
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --train_dir=runs/pretrain_nextvlad
python inference.py \
    --train_dir=runs/pretrain_nextvlad \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/dummy.csv \
    --video_exponent=1 \
    --segment_exponent=0

# Table 1, DBoF baseline [dbof]; paper: private 0.69882, public 0.71077
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --model=dbof \
    --rgb_eigenvalues=data/eigenvals.npy \
    --train_dir=runs/scratch_dbof
python inference.py \
    --train_dir=runs/scratch_dbof \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/dbof.csv \
    --video_train_dir=runs/pretrain_nextvlad

# Table 1, NeXtVLAD(8G, 128K, X2, 2048H) [nextvlad_scratch]; paper: private 0.77009, public 0.77730
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --model=nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --train_dir=runs/scratch_nextvlad
python inference.py \
    --train_dir=runs/scratch_nextvlad \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/nextvlad_scratch.csv \
    --video_train_dir=runs/pretrain_nextvlad

# Table 1, NeXtVLAD(8G, 128K, X2, 2048H) [nextvlad]; paper: private 0.79642, public 0.80635
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_nextvlad \
    --train_dir=runs/finetune_nextvlad
python inference.py \
    --train_dir=runs/finetune_nextvlad \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/nextvlad.csv

# Table 1, NeXtVLAD_large(8G, 256K, X4, 2048H) [nextvlad_large]; paper: private 0.80586, public 0.81611
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=nextvlad_large \
    --rgb_eigenvalues=data/eigenvals.npy \
    --train_dir=runs/pretrain_nextvlad_large
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_nextvlad_large \
    --train_dir=runs/finetune_nextvlad_large
python inference.py \
    --train_dir=runs/finetune_nextvlad_large \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/nextvlad_large.csv

# Table 1, NeXtVLAD_distill: one leaf of the MOD [mod_leaf]; paper: private 0.81509, public 0.82267
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=mod_nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --temperature=1 \
    --train_dir=runs/pretrain_mod_nextvlad
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mod_nextvlad \
    --temperature=20 \
    --train_dir=runs/finetune_mod_nextvlad_T20
python inference.py \
    --train_dir=runs/finetune_mod_nextvlad_T20 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mod_leaf.csv \
    --node=0/0 \
    --video_train_dir=runs/pretrain_nextvlad

# Table 2, MixNeXtVLAD (T=0) [mix_T0]; paper: private 0.80797, public 0.81688
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=mix_nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --temperature=0 \
    --train_dir=runs/pretrain_mix_nextvlad_T0
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mix_nextvlad_T0 \
    --temperature=0 \
    --train_dir=runs/finetune_mix_nextvlad_T0
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_T0 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_T0.csv

# Table 2, MixNeXtVLAD (T=1) [mix_T1]; paper: private 0.81125, public 0.82023
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=mix_nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --temperature=1 \
    --train_dir=runs/pretrain_mix_nextvlad
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mix_nextvlad \
    --temperature=1 \
    --train_dir=runs/finetune_mix_nextvlad_T1
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_T1 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_T1.csv

# Table 2, MixNeXtVLAD (T=10) [mix_T10]; paper: private 0.81617, public 0.82477
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mix_nextvlad \
    --temperature=10 \
    --train_dir=runs/finetune_mix_nextvlad_T10
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_T10 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_T10.csv

# Table 2, MixNeXtVLAD (T=20) [mix_T20]; paper: private 0.81984, public 0.82699
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mix_nextvlad \
    --temperature=20 \
    --train_dir=runs/finetune_mix_nextvlad_T20
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_T20 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_T20.csv

# Table 2, MixNeXtVLAD_large (T=20) [mix_large]; paper: private 0.82262, public 0.83014
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=mix_nextvlad_large \
    --rgb_eigenvalues=data/eigenvals.npy \
    --temperature=1 \
    --train_dir=runs/pretrain_mix_nextvlad_large
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mix_nextvlad_large \
    --temperature=20 \
    --train_dir=runs/finetune_mix_nextvlad_large_T20
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_large_T20 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_large.csv

# Table 2, MODNeXtVLAD (T=20) [mod]; paper: private 0.82512, public 0.83251
python inference.py \
    --train_dir=runs/finetune_mod_nextvlad_T20 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mod.csv

# Beyond, Three layers, 2 x 2 x 3 (T=20) [deep]
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=mod_nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --set=branching=2x2x3 \
    --temperature=1 \
    --train_dir=runs/pretrain_deep_mod_nextvlad
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_deep_mod_nextvlad \
    --temperature=20 \
    --train_dir=runs/finetune_deep_mod_nextvlad_T20
python inference.py \
    --train_dir=runs/finetune_deep_mod_nextvlad_T20 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/deep.csv

# Beyond, NeXtVLAD, pretrained only, on segments [pretrained]
python inference.py \
    --train_dir=runs/pretrain_nextvlad \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/pretrained.csv

# Beyond, MixNeXtVLAD (T=0), plain average of the leaves [mix_T0_average]
# Scored in the miniature only: inference.py has no such part of a model.

# Beyond, MixNeXtVLAD (T=20), plain average of the leaves [mix_T20_average]
# Scored in the miniature only: inference.py has no such part of a model.

# Beyond, MODNeXtVLAD (T=20), plain average of the leaves [mod_average]
# Scored in the miniature only: inference.py has no such part of a model.

# Beyond, One leaf of MixNeXtVLAD (T=0) [mix_T0_leaf]
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_T0 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_T0_leaf.csv \
    --node=0 \
    --video_train_dir=runs/pretrain_nextvlad

# Beyond, One leaf of MixNeXtVLAD (T=20) [mix_T20_leaf]
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_T20 \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_T20_leaf.csv \
    --node=0 \
    --video_train_dir=runs/pretrain_nextvlad

# Beyond, MixNeXtVLAD (binary) [mix_binary]
python train.py \
    --train_data_pattern='data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord' \
    --model=mix_nextvlad \
    --rgb_eigenvalues=data/eigenvals.npy \
    --phase=pretrain_plus \
    --train_dir=runs/pretrain_mix_nextvlad_binary
python finetune.py \
    --train_data_pattern='data/3/validate/validate*.tfrecord' \
    --pretrained_dir=runs/pretrain_mix_nextvlad_binary \
    --phase=finetune_plus \
    --train_dir=runs/finetune_mix_nextvlad_binary
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_binary \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_binary.csv

# Beyond, MixNeXtVLAD (binary), plain average of the leaves [mix_binary_average]
# Scored in the miniature only: inference.py has no such part of a model.

# Beyond, One leaf of MixNeXtVLAD (binary) [mix_binary_leaf]
python inference.py \
    --train_dir=runs/finetune_mix_nextvlad_binary \
    --input_data_pattern='data/3/test/test*.tfrecord' \
    --segment_label_ids_file=data/segment_label_ids.csv \
    --output_file=runs/mix_binary_leaf.csv \
    --node=0 \
    --video_train_dir=runs/pretrain_nextvlad

# Beyond, Random order of the rated segments [random]
# Scored in the miniature only: inference.py has no such part of a model.

# The test labels are not public: submit runs/<row>.csv to the challenge (late submission) for
# the two leaderboards. With pretraining on data/2/train alone (the rated videos are of validate)
# and finetuning on a part of data/3/validate, the rest scores here:
# python eval_map.py --submission_file=runs/<row>.csv --eval_data_pattern='<the rest>'
