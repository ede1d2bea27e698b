"""The script on molecules of our own, in files as PyG downloads them."""

import pickle

import torch


def write_molecules(raw, count=20):
    """Rings of four to seven atoms; what is asked for is the number of atoms of a kind."""
    raw.mkdir(parents=True)
    for split in ("train", "val", "test"):
        molecules = []
        for i in range(count):
            n = 4 + i % 4
            ring = torch.eye(n).roll(1, dims=1)
            atoms = torch.randint(2, (n,))
            bonds = (ring + ring.t()).to(torch.uint8)
            target = atoms.sum().float().view(1)
            molecule = {"atom_type": atoms, "bond_type": bonds}
            molecules.append(molecule | {"logP_SA_cycle_normalized": target})
        with open(raw / f"{split}.pickle", "wb") as file:
            pickle.dump(molecules, file)
        (raw / f"{split}.index").write_text(",".join(map(str, range(count))) + "\n")


def test_trains_and_evaluates(tmp_path, example, capsys):
    torch.manual_seed(0)
    write_molecules(tmp_path / "raw")
    options = ["--epochs=25", "--channels=16", "--layers=2", "--batch_size=5", "--lr=5e-3"]
    for _ in range(2):  # the second run reads the processed files, paths included
        example("zinc").main([f"--root={tmp_path}", *options])
        *_, last = capsys.readouterr().out.splitlines()
        assert float(last.removeprefix("test error of the epoch with the best validation: ")) < 0.5
