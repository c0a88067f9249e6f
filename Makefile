# Everything a person does with this repository. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/rtseg
PRETRAIN := $(VENV)/bin/python -m pretrain
TRANSFER := runs/transfer
IMAGES ?=
MODEL ?= rtformer_slim
ATTN ?=
INSERT ?=
DATA_DIR ?=
ARGS ?=
EPOCHS ?= 16
NETWORKS ?= rtformer_slim ddrnet_23_slim ddrnet_23 segformer_b0 segformer_b1 lraspp_mobilenet_v3_large \
	deeplabv3_mobilenet_v3_large smp_deeplabv3plus_mobilenet_v2 smp_fpn_mobilenet_v2
IMAGE ?=
SPEED = $(if $(IMAGE),--image $(IMAGE)) --seconds 2 -o benchmarks/results $(ARGS)
SEEDS ?= 2
DEMO := configs/rtformer_slim_demo.yaml
DEMO_LAST := runs/demo/training/last.ckpt
# What --auto chooses on a CPU, for the commands that have no --auto: bfloat16 where the processor computes in it.
PRECISION := $(shell grep -qs avx512_bf16 /proc/cpuinfo && echo bf16-mixed || echo 32-true)
CPU ?=
INDEX ?=
# PyTorch without CUDA; on macOS there is no other, and it has no name of its own.
TORCH_CPU = $(if $(filter Linux,$(shell uname -s)),$(shell sed -nE 's/^(torch|torchvision)==.*/&+cpu/p' constraints.txt))
PIP = $(VENV)/bin/pip install --quiet --constraint constraints.txt $(if $(INDEX),--extra-index-url $(INDEX))

.PHONY: help install demo demo-stages clean-demo pretrain transfer-check benchmark table2 table3 docs lint test test-slow torture

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo 'Variables: MODEL=$(MODEL) ATTN=gfa+ca INSERT="stage3=fa" DATA_DIR=folder EPOCHS=16 SEEDS=2 ARGS="flags"'

install: $(VENV)/.installed ## install rtseg and its tools into .venv; CPU=1: without CUDA

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
ifneq ($(and $(CPU),$(TORCH_CPU)),)
	@$(PIP) --dry-run --no-deps $(TORCH_CPU) || { \
		echo "pip finds no PyTorch without CUDA ($(TORCH_CPU)): the Python Package Index does not carry it."; \
		echo "Give the address of PyTorch's own index: make install CPU=1 INDEX=https://..."; \
		echo "(on pytorch.org, 'Get Started', choose Pip and CPU; the address follows --index-url)."; \
		echo "Or run 'make install': it needs no address, and 7.2 GB instead of about 2.3 GB."; exit 1; }
endif
	$(PIP) $(if $(CPU),$(TORCH_CPU)) --editable '.[dev]'
	@touch $@

demo: install ## draw scenes, train, score, time: runs/demo/report.html
	@test ! -e runs/demo/report.html || { \
		echo "the demo is done: open runs/demo/report.html, or 'make clean-demo' to begin anew"; exit 1; }
	@# Ctrl-C reaches this shell, too. What was stopped says how to resume it, and not that make does.
	@trap 'stopped=1' INT; $(MAKE) --no-print-directory -f '$(firstword $(MAKEFILE_LIST))' demo-stages || { status=$$?; \
		test -z "$$stopped" || echo "'make demo' again resumes from there"; exit $$status; }

demo-stages:
	@test ! -e runs/demo || echo "resuming runs/demo; 'make clean-demo' begins anew"
	@echo "The demo has five stages: draw scenes, train, score, time, report."
	@echo "Training takes most of the time; after its first steps it says when it ends."
	@echo "1 of 5: draw street scenes, 500 to train on and 64 to score on"
	test -d runs/demo/data || $(RUN) make-data --layout camvid -n 500 --number-val 64 --size 192 256 -o runs/demo/data
	@echo "2 of 5: train"
	test -e runs/demo/.trained || $(RUN) fit --config $(DEMO) --auto --output runs/demo/training \
		$(if $(wildcard $(DEMO_LAST)),--ckpt_path $(DEMO_LAST)) $(ARGS)
	@touch runs/demo/.trained
	@echo "3 of 5: score the best checkpoint on the 64 scenes"
	$(RUN) validate --config $(DEMO) --ckpt_path runs/demo/training/best.ckpt \
		-o runs/demo/training/scores.json
	@echo "4 of 5: time three engines, one second for each figure"
	test -e runs/demo/training/benchmark.json || \
		$(RUN) benchmark runs/demo/training/best.ckpt --input-size 192 256 --image runs/demo/data/val --seconds 1 \
		--backend eager --backend onnxruntime --backend openvino -o runs/demo/training/benchmark.json > /dev/null
	@echo "5 of 5: segment ten of the scenes, and write the report"
	$(RUN) predict runs/demo/training/best.ckpt runs/demo/data/val/scene_0000*.png \
		-o runs/demo/training/predictions --overwrite
	$(RUN) report runs/demo/training -o runs/demo/report.html
	@echo "Done: open runs/demo/report.html. This writes it anew, after more training or another score:"
	@echo "  rtseg report runs/demo/training -o runs/demo/report.html"
	@echo "The network knows drawn streets alone. Give it a film of yours, or try it in a browser, as a page or a server:"
	@echo "  rtseg predict runs/demo/training/best.ckpt film.mp4 -o film-results"
	@echo "  rtseg page runs/demo/training/best.ckpt -o my-page"
	@echo "  rtseg serve runs/demo/training/best.ckpt"

clean-demo: ## remove what make demo made
	rm -rf runs/demo

# One flag for each place, with all that INSERT has for it: of a flag that is given twice only the last would hold.
comma := ,
space := $(subst ,, )
unique = $(if $1,$(firstword $1) $(call unique,$(filter-out $(firstword $1),$1)))
places = $(call unique,$(foreach word,$(INSERT),$(firstword $(subst =, ,$(word)))))
at = $(patsubst $1=%,%,$(filter $1=%,$(INSERT)))
listed = $(if $(word 2,$1),[$(subst $(space),$(comma),$(strip $1))],$1)
INSERTED = $(foreach place,$(places),'--model.insert.$(place)$(if $(call at,$(place)),=$(call listed,$(call at,$(place))))')

train-ade20k: install ## train on ADE20K
train-cityscapes: install ## train on Cityscapes
train-camvid: install ## train on CamVid
train-%:
	$(RUN) fit --config configs/$(MODEL)_$*.yaml $(if $(ATTN),--model.attention=$(ATTN)) \
		$(INSERTED) $(if $(DATA_DIR),--data.root=$(DATA_DIR)) $(if $(filter camvid,$*),--auto) $(ARGS)

pretrain: install ## pre-train on ImageNet: DATA_DIR=folder or shards; needs GPUs
	$(PRETRAIN) fit --config pretrain/configs/rtformer_slim_in1k.yaml --model.name=$(MODEL) \
		--output=runs/$(MODEL)_in1k $(if $(ATTN),--model.attention=$(ATTN)) \
		$(if $(DATA_DIR),--data.root=$(DATA_DIR)) $(ARGS)

transfer-check: install ## does pre-training help? IMAGES=folder DATA_DIR=CamVid
	@test -n "$(IMAGES)" -a -n "$(DATA_DIR)" || { \
		echo "give IMAGES=folder of train/<class>/ and val/<class>/, and DATA_DIR=folder of CamVid"; exit 1; }
	test -e $(TRANSFER)/pretrain/.trained || $(PRETRAIN) fit --config pretrain/configs/rtformer_slim_imagenette.yaml \
		--model.name=$(MODEL) $(if $(ATTN),--model.attention=$(ATTN)) --data.root=$(IMAGES) \
		--output=$(TRANSFER)/pretrain --auto \
		$(if $(wildcard $(TRANSFER)/pretrain/last.ckpt),--ckpt_path $(TRANSFER)/pretrain/last.ckpt)
	@touch $(TRANSFER)/pretrain/.trained
	test -e $(TRANSFER)/backbone/config.json || $(PRETRAIN) export $(TRANSFER)/pretrain/last.ckpt -o $(TRANSFER)/backbone
	$(PRETRAIN) transfer-check $(TRANSFER)/backbone --data $(DATA_DIR) --epochs $(EPOCHS) --seeds $(SEEDS) \
		-o $(TRANSFER) --trainer.precision=$(PRECISION) $(ARGS)

transfer-check: SEEDS = 4

table2: install ## count and time the networks of RTFormer's Table 2
	$(PRETRAIN) table2 -o runs/table2_$(shell date +%F_%H%M).json $(ARGS)

benchmark: install ## time NETWORKS= on all engines, an hour; IMAGE=file or folder
	$(RUN) benchmark $(NETWORKS) $(SPEED) --protocol ddrnet --memory
	$(RUN) benchmark $(MODEL) $(SPEED) --also 480x360 --also 720x960 --also 1024x2048
	$(RUN) benchmark $(MODEL) $(SPEED) --batch-size 1 --batch-size 2 --batch-size 4 --batch-size 8
	$(VENV)/bin/python -m tools.tables

table3: install ## time RTFormer's Table 3; DATA_DIR=CamVid: train it too
	$(RUN) compare -o runs/table3 --model $(MODEL) $(if $(DATA_DIR),--data $(DATA_DIR) --epochs $(EPOCHS) --seeds $(SEEDS) \
		--config configs/rtformer_slim_camvid_half.yaml --trainer.precision=$(PRECISION)) $(ARGS)

docs: install ## write the tables in docs/ that are made from code and results
	$(VENV)/bin/python -m tools.tables
	$(VENV)/bin/python -m tools.licences docs/licences.md

lint: install ## check style, types, imports, the tables in docs/, licences
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m tools.tables --check
	$(VENV)/bin/python -m tools.licences --check docs/licences.md

test: install ## everything a change must pass
	@# What one process compiles the others read, also where the environment forbids it (as in many containers).
	PYTHONDONTWRITEBYTECODE= $(VENV)/bin/pytest -n 2 --dist loadfile $(ARGS)

test-slow: install ## the tests that take minutes
	$(VENV)/bin/pytest -m slow $(ARGS)

torture: install ## inject faults, an hour; TORTURE=quick: ten minutes
	$(VENV)/bin/python -m tools.torture $(GROUP) $(if $(filter quick,$(TORTURE)),--quick) $(ARGS)
