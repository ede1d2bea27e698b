# `make demo` and `make test` create .venv with all they need; nothing is installed outside of it.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

demo: $(INSTALLED)  ## Classify held-out digits with predicted parameters, then train on from them
	$(BIN)/pyg-ghn evaluate --checkpoint=ghn3-digits --num_networks=20 --out=results/demo
	$(BIN)/pyg-ghn finetune deepnets:test/1 --model_args '{"C": 16, "fc_dim": 64}' --steps 50 \
		--evaluate_at 5 10 20 35 --lrs 0.1 0.02 0.004 --out results/demo/duel.safetensors

test: $(INSTALLED)  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: $(INSTALLED)  ## Compare the graphs of thousands of random modules with their true data flow
	OMP_NUM_THREADS=1 FUZZ=5000 $(BIN)/python -m pytest tests/graph/test_random_modules.py

demo-train: $(INSTALLED)  ## Meta-train a GHN from scratch for 8 minutes and show the same table
	rm -rf runs/digits-8min
	$(BIN)/pyg-ghn train --config=configs/digits-8min.yaml
	$(BIN)/pyg-ghn evaluate --checkpoint=runs/digits-8min/model.safetensors --num_networks=50 \
		--out=results/demo-train

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--config-settings editable_mode=compat --editable '.[test]'
	touch $@

.PHONY: demo test fuzz demo-train
