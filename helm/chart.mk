# The chart without a release: plain manifests. Helm comes with the test cluster's tools.
.PHONY: manifests
manifests: setup ## Render the chart into helm/manifests for `kubectl apply -k`
	@helm="$$($(TESTCLUSTER) build helm | sed -n 's/^helm: //p')/helm"
	$$helm template geopod helm/geopod --namespace geopod-system --skip-tests --set crds.enabled=false \
	  --set signingKey.existingSecret=geopod-signing-key --api-versions geopod.dev/v1alpha1/ComputeRuntime \
	  $(SET) > helm/manifests/geopod.yaml
	@echo "helm/manifests/kustomization.yaml says what comes next"
