import pytest

from rpaccel.spec.gemm_topology import GemmLayer, read_gemm_topology

TOPOLOGY = "Layer, M, N, K,\nbottom, 4096, 512, 13,\nhidden 1, 4096, 256, 512,\n\ntop, 64, 1, 96,\n"


@pytest.fixture
def topology(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(TOPOLOGY)
    return path


def test_reads_a_topology(topology):
    layers = read_gemm_topology(topology)
    assert layers[1] == GemmLayer(name="hidden 1", rows=4096, inputs=512, outputs=256)
    assert [layer.name for layer in layers] == ["bottom", "hidden 1", "top"]
    topology.write_text("Layer Name,M,N,K\nonly,1,2,3")
    assert read_gemm_topology(topology) == (GemmLayer(name="only", rows=1, inputs=3, outputs=2),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: headings must be Layer, M, N, K, not $"),
        ("Layer,M,K,N\n", r"line 1: headings must be Layer, M, N, K, not layer, m, k, n$"),
        ("Layer,M,N,K,Sparsity\n", r"line 1: headings must be"),
        ("Layer,M,N,K,\n", r": must have at least one layer$"),
        ("Layer,M,N,K,\na,1,2,\n", r"line 2: must have 4 columns, not 3$"),
        ("Layer,M,N,K,\na,1,2,3,2:4,\n", r"line 2: must have 4 columns, not 5$"),
        ("Layer,M,N,K,\n\na,1,0,3,\n", r"line 3, N: must be in 1\.\.1048576, not '0'$"),
        ("Layer,M,N,K,\na,1,2,-3,\n", r"line 2, K: must be in 1\.\.1048576, not '-3'$"),
        ("Layer,M,N,K,\na,1.5,2,3,\n", r"line 2, M: must be in 1\.\.1048576, not '1\.5'$"),
    ],
)
def test_wrong_topologies(topology, text, message):
    topology.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_gemm_topology(topology)
