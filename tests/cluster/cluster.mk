# A real Kubernetes for the tests. GEOPOD_TEST_CLUSTER=name gives a second one beside the first.
TESTCLUSTER := PYTHONPATH=tests $(RUN) python -m cluster.testcluster
CLUSTER_PACKAGES := buildah conntrack containernetworking-plugins e2fsprogs iproute2 iptables mmdebstrap openssl runc

.PHONY: cluster-packages
cluster-packages: ## Install the Debian packages that a process cluster needs
	@if docker info >/dev/null 2>&1 || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit 0; fi
	dpkg --status $(CLUSTER_PACKAGES) >/dev/null 2>&1 || {
	  apt-get update -qq
	  apt-get install --yes --quiet=2 --no-install-recommends $(CLUSTER_PACKAGES); }

.PHONY: cluster-up
cluster-up: setup ## A real Kubernetes; UP="--nodes 2 --simulated 100 --gpus 4 --kubernetes 1.35"
	@$(TESTCLUSTER) up $(UP)

.PHONY: cluster-down
cluster-down: setup ## End the cluster and remove every trace of it
	@$(TESTCLUSTER) down

.PHONY: cluster-status
cluster-status: setup ## What runs, where, and its nodes
	@$(TESTCLUSTER) status

.PHONY: images
images: setup ## Build geopod's images and push them to the cluster's registry
	@$(TESTCLUSTER) images

.PHONY: deploy
deploy: setup ## Install geopod's chart with these images; DEPLOY="--set path=value"
	@$(TESTCLUSTER) deploy $(DEPLOY)

.PHONY: undeploy
undeploy: setup ## Uninstall geopod from the cluster; definitions stay
	@$(TESTCLUSTER) undeploy

.PHONY: test-cluster
test-cluster: setup cluster-packages ## Tests on a real Kubernetes; starts one and ends it if none runs. TESTS=path WORKERS=3
	@$(TESTCLUSTER) around $(if $(WORKERS),$(MAKE) --no-print-directory --keep-going $(STAGES),$(RUN) pytest $(or $(TESTS),tests/chart tests/cluster))

STAGES := stage-bare stage-shared stage-alone
.PHONY: $(STAGES)
stage-alone: CHART := tests/chart
$(STAGES):  # those of tests/cluster/stages.py
	@$(RUN) pytest -n $(WORKERS) --no-loadscope-reorder --stage=$(@:stage-%=%) $(CHART) tests/cluster

.PHONY: chaos
chaos: setup cluster-packages ## Hundreds of seeded kills, then longer ones on the cluster; KILLS=N, WRITE=FILE keeps the table
	@PYTHONPATH=tests $(RUN) python -m chaos $(if $(KILLS),--kills $(KILLS)) $(if $(WRITE),--write $(WRITE))
	GEOPOD_CHAOS_AWAY_S=30 GEOPOD_CHAOS_ROUNDS=2 $(TESTCLUSTER) around $(RUN) pytest tests/cluster/test_chaos.py
