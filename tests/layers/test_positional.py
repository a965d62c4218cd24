from aime_agent.layers.positional import GridEmbedding


def test_grid_embedding_has_one_trained_row_per_cell():
    grid = GridEmbedding((2, 3), 4, std=0.1)
    grid()[5].sum().backward()
    assert grid.table.grad.sum(-1).tolist() == [0, 0, 0, 0, 0, 4]


def test_grid_embedding_std_acts():
    wide = GridEmbedding((8, 8), 16, std=2.0).table.std()
    assert 1.8 < wide < 2.2
