import pytest

from napari_cellal.core.progress import Abandoned, EndEarly, Progress, run_job, unhurried


def counts(ended, n=3):
    try:
        for k in range(n):
            yield Progress(k, n)
        return n
    finally:
        ended.append(True)


@pytest.mark.parametrize("times", [1, 3])
def test_an_unhurried_job_is_not_cut_short(times):
    job = unhurried(counts([]))
    next(job)
    for k in range(1, times):
        assert job.throw(EndEarly()).done == k
    assert run_job(job) == 3


@pytest.mark.parametrize("end", [GeneratorExit, Abandoned])
def test_an_unhurried_job_is_given_up_as_any_other(end):
    ended = []
    job = unhurried(counts(ended))
    next(job)
    with pytest.raises(end):
        job.throw(end())
    assert ended == [True]
    with pytest.raises(StopIteration):
        next(job)
