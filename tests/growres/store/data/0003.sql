INSERT INTO experiment (id, name, status, reason, spec_text, spec, created_at, started_at, ended_at, git_commit, git_dirty,
    versions, host, device, data_fingerprint, data_splits)
VALUES ('abcdef', 'digits', 'succeeded', 'trials: 2 succeeded', 'name: digits', '{"name": "digits"}',
    '2026-01-02 03:04:05.000006', '2026-01-02 03:04:06.000000', '2026-01-02 03:05:06.000000', '0123abc', true,
    '{"torch": "2.13.0"}', 'bench', 'cpu', 'f1f2', '{"train": 1151, "validation": 287, "test": 359}');
INSERT INTO trial (id, experiment_id, trial_index, variant, seed, procedure, model, sweep_point, config, initial_blocks, status,
    reason, attempt, val_error, test_error, num_params, num_blocks, train_flops, epochs, wall_s, finish_reason, architecture,
    created_at, started_at, ended_at, updated_at)
VALUES ('abcdef-1', 'abcdef', 1, 'simons', 0, 'growth', 'preact_resnet', '{}', '{"seed": 0}', 2, 'succeeded',
    'done', 2, 0.0125, 0.025, 90123456789, 3, 3000000000000000000, 15, 12.5, 'max_blocks: 3',
    '{"name": "preact_resnet", "blocks": [2, 1]}',
    '2026-01-02 03:04:05.000006', '2026-01-02 03:04:07.000000', '2026-01-02 03:05:05.000000', '2026-01-02 03:05:05.000000');
INSERT INTO trial (id, experiment_id, trial_index, variant, seed, procedure, model, sweep_point, config, initial_blocks, status,
    reason, attempt, val_error, test_error, num_params, num_blocks, train_flops, epochs, wall_s, finish_reason, architecture,
    created_at, started_at, ended_at, updated_at)
VALUES ('abcdef-2', 'abcdef', 2, 'lenet5', 0, 'end_to_end', 'lenet5', '{"training.optimizer.lr": 0.1}', '{"seed": 0}', NULL,
    'queued', NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    '2026-01-02 03:04:05.000006', NULL, NULL, '2026-01-02 03:04:05.000006');
INSERT INTO attempt (trial_id, attempt, status, reason, host, device, pid, started_at, ended_at, note)
VALUES ('abcdef-1', 1, 'interrupted', 'never ended; followed by attempt 2', 'bench', 'cpu', 11, '2026-01-02 03:04:07.000000', NULL, NULL),
    ('abcdef-1', 2, 'succeeded', 'done', 'bench', 'cpu', 12, '2026-01-02 03:04:30.000000', '2026-01-02 03:05:05.000000', 'checkpoint.pt is damaged');
INSERT INTO epoch (trial_id, growth_step, arm, replicate, epoch, train_loss, train_error, val_loss, val_error, lr, images_per_s, epoch_s,
    train_flops)
VALUES ('abcdef-1', 0, 'network', 0, 1, 0.5, 0.25, 0.75, 0.375, 0.1, 1000.0, 1.5, 1000000000000),
    ('abcdef-1', 1, 'candidate', 0, 1, NULL, NULL, NULL, NULL, 0.1, 1000.0, 1.5, 1000000000000);
INSERT INTO growth_step (trial_id, step, kind, round, stage, block, initialiser, train_error_before, train_error_candidate, val_error_before,
    val_error_candidate, val_error_control, val_loss_before, val_loss_candidate, val_loss_control, num_replicates, p_value, verdict, reason, num_params_before, num_params_after, epochs, train_flops,
    wall_s, max_logit_change)
VALUES ('abcdef-1', 1, 'append', 1, 0, 1, 'zero_branch', 0.25, 0.125, 0.375, 0.0125, NULL, 0.75, 0.5, NULL, 2, NULL, 'accepted', 'val_error fell', 1000, 1500, 5,
    5000000000000, 7.5, 0.0);
INSERT INTO artifact (trial_id, kind, path, sha256, num_bytes, written_at)
VALUES ('abcdef-1', 'checkpoint', 'abcdef-1/checkpoint.pt', 'e3b0c442', 5000000000, '2026-01-02 03:05:04.000000');
INSERT INTO run (experiment_id, run, status, reason, backend, address, job_id, host, pid, dashboard_url, stop_requested,
    submitted_at, started_at, heartbeat_at, ended_at)
VALUES ('abcdef', 1, 'interrupted', 'its driver vanished', 'cluster', 'http://head:8265', 'growres-abcdef-1', 'bench', 11, NULL, 'epoch',
    '2026-01-02 03:04:05.500000', '2026-01-02 03:04:06.000000', '2026-01-02 03:04:20.000000', '2026-01-02 03:04:25.000000');
