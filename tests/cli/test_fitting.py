"""What a sweep that fits itself is taken to run."""

from omegaconf import OmegaConf

from harness.cli.fitting import _list_swept


def test_what_the_user_sweeps_replaces_what_the_experiment_does() -> None:
    swept = {
        "sweeper": {"params": {"task": "medmcqa,fincot", "target_modules": "qkv,o_proj,all"}},
        "overrides": {"task": ["target_modules=q", "+seed=0,1"]},
    }
    config = OmegaConf.create({"hydra": swept})
    assert sorted(_list_swept(config)) == ["+seed=0,1", "target_modules=q", "task=medmcqa,fincot"]
