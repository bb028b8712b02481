# Two commands: `make run` and `make test`. Each first installs what it needs into .venv.
#   make run CONSTRAINTS=        the newest versions (for a GPU)
#   make run TORCH_INDEX=URL     take torch from the index of its CPU builds too: on Linux the registry's own build
#                                brings several GB of CUDA packages
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
TORCH_INDEX ?=
BIN := .venv/bin
INSTALLED := .venv/installed-$(or $(notdir $(CONSTRAINTS)),newest)

.DEFAULT_GOAL := help
.PHONY: help install run report test test-slow lab lint notebooks bench weights clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## install into .venv (the other targets do it by themselves)

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "nblib needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[dev]'
	@touch $@

run: $(INSTALLED) ## execute the series in the smoke profile (minutes) and print the path of its report
	$(BIN)/nblib run --profile smoke

report: $(INSTALLED) ## the same, and then a site of it: leaderboard, search, all figures, a page to print
	@mkdir -p runs; out=runs/$$(date +%Y%m%d-%H%M%S)-report; $(BIN)/nblib run --profile smoke --out $$out; status=$$?; \
		$(BIN)/nblib report $$out && exit $$status

test: $(INSTALLED) ## the tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(INSTALLED) ## the slow tests: faults, a real browser
	$(BIN)/python -m pytest -m slow

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	$(BIN)/nblib lab

lint: $(INSTALLED) ## check style and formatting, notebooks included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: $(INSTALLED) ## execute the series in the class profile and rewrite the committed notebooks
	$(BIN)/python -m nblib.refresh

bench: $(INSTALLED) ## measure the speeds and rewrite data/benchmarks
	$(BIN)/python -m tests.benchmarks

weights: $(INSTALLED) ## train the shipped weights anew (about four hours on two cores; goes on where it was stopped)
	@set -e; train() { \
		$(BIN)/nblib train $$2 --data $$1 --steps $$3 $${4:+--set $$4} --out runs/weights/$$1-$$2 --resume; \
		mkdir -p data/checkpoints/$$1; cp runs/weights/$$1-$$2/weights/* data/checkpoints/$$1/; }; \
	train toyfaces classifier 1800; train toyfaces dcgan 6810; \
	train toyfaces encoder 4000; train toyfaces context-encoder 4000; \
	train toycars classifier 6000; train toycars dcgan 3847; \
	train toycars sagan 2550; train toyfaces sagan 2550; \
	again() { \
		$(BIN)/nblib train refiner --data $$1 --steps $$4 --lr $$5 --set approximator=runs/weights/$$1-approxnet \
			--set start=runs/weights/$$1-$$2/weights/refiner.safetensors --out runs/weights/$$1-$$3 --resume; \
		cp runs/weights/$$1-$$3/weights/* data/checkpoints/$$1/; }; \
	for set in toyfaces toycars; do \
		train $$set approxnet 20000; train $$set refiner 5500 approximator=runs/weights/$$set-approxnet; \
		again $$set refiner refiner-2 2200 1e-3; done; \
	again toyfaces refiner-2 refiner-3 1200 5e-4; again toycars refiner-2 refiner-3 1900 1e-3; \
	vae() { \
		$(BIN)/nblib train cvae --task $$1 --steps $$2 --lr 2e-3 --set width=16 --set latent_dim=32 $$4 \
			--out runs/cvae/toyfaces-$$1 --resume; \
		$(BIN)/nblib train cvae-fine --steps $$3 --lr 5e-4 --set lr_D=4e-4 --set width_D=16 $$4 $$5 \
			--set start=runs/cvae/toyfaces-$$1 --out runs/cvae/toyfaces-$$1-fine --resume; \
		for end in safetensors json; do \
			cp runs/cvae/toyfaces-$$1-fine/weights/cvae-fine.$$end data/checkpoints/toyfaces/cvae-$$1.$$end; done; }; \
	vae smiling 3500 1500 "--set hole=20" "--set composite=true --set flip=0.5 --set adversarial=30"; \
	vae glasses-remover 4000 800 "" "--set flip=0.5 --set adversarial=40"; \
	vae general 2200 300 "--set hole=20" "--set composite=true --set adversarial=50"; \
	vae general-big 1400 400 "--set hole=20" "--set composite=true --set adversarial=800"; \
	$(BIN)/python -m nblib.judges

clean: ## remove what runs and builds left; keeps data/
	rm -rf runs build .pytest_cache .ruff_cache .hypothesis
