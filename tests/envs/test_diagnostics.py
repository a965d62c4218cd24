"""What the doctor is told."""

import pytest

from aime_agent.envs import diagnostics, gl
from aime_agent.envs.diagnostics import environment_report


def test_versions_of_this_installation_fit():
    findings = {finding.name: finding for finding in environment_report(frames=0)}
    assert {"OpenGL", "mujoco", "dm-control", "shimmy", "threads", "torch", "ffmpeg"} <= set(
        findings
    )
    assert all(findings[name].ok for name in ("mujoco", "dm-control", "shimmy", "gymnasium"))


@pytest.mark.render
def test_each_quality_is_timed():
    names = [finding.name for finding in environment_report(frames=1)]
    assert names[-3:] == ["render standard", "render fast", "render minimal"]


def test_missing_and_too_new_packages_get_a_remedy(monkeypatch):
    monkeypatch.setattr(diagnostics.metadata, "version", lambda name: "4.0.0")
    found = diagnostics._version("mujoco", ">=3.17,<4")
    assert not found.ok
    assert "pip install 'mujoco>=3.17,<4'" in found.remedy


def test_missing_opengl_gets_the_cure(monkeypatch):
    report = gl.GLReport("disabled", "no back-end works", ("egl: missing",), gl.CURE)
    monkeypatch.setattr(gl, "choose_backend", lambda: report)
    found = {finding.name: finding for finding in environment_report()}
    assert found["OpenGL"].remedy == gl.CURE
    assert "render fast" not in found
