package cluster

import (
	"fmt"
	"slices"

	"raftsman.dev/hack/devcluster/internal/layout"
)

const (
	pauseImage      = "raftsman.dev/devcluster/pause:1"
	corednsImage    = "raftsman.dev/devcluster/coredns:1"
	provisionerName = "raftsman.dev/devcluster"
	storageClass    = "devcluster"

	system     = "/api/v1/namespaces/kube-system/"
	rbac       = "/apis/rbac.authorization.k8s.io/v1/"
	checkName  = "devcluster-storage-check"
	checkPod   = system + "pods/" + checkName
	checkClaim = system + "persistentvolumeclaims/" + checkName
)

// object is one thing to apply: where it lives in the API, and what it is.
type object struct {
	path string
	yaml string
}

// manifests are what every cluster has from the start.
func (c *Cluster) manifests() []object {
	return slices.Concat(nodeManifests(), storageManifests(), dnsAccess(), c.dnsManifests())
}

// nodeManifests let kubelets read claims and volumes at once. The node authorizer allows it too, but learns
// of a Pod's volumes a moment later than its kubelet asks for them, who then waits twelve seconds.
func nodeManifests() []object {
	return []object{
		{rbac + "clusterroles/devcluster:node-volumes", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "devcluster:node-volumes"}
rules:
- {apiGroups: [""], resources: [persistentvolumes, persistentvolumeclaims], verbs: [get]}
`},
		{rbac + "clusterrolebindings/devcluster:node-volumes", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "devcluster:node-volumes"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "devcluster:node-volumes"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:nodes"}]
`},
	}
}

func storageManifests() []object {
	return []object{
		{rbac + "clusterroles/devcluster:provisioner", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "devcluster:provisioner"}
rules:
- {apiGroups: [""], resources: [persistentvolumes], verbs: [get, list, watch, create, delete, update, patch]}
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [get, list, watch, update]}
- {apiGroups: [""], resources: [persistentvolumeclaims/status], verbs: [update]}
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: [storage.k8s.io], resources: [storageclasses], verbs: [get, list, watch]}
- {apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, update, patch]}
`},
		{rbac + "clusterrolebindings/devcluster:provisioner", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "devcluster:provisioner"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "devcluster:provisioner"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "devcluster:provisioner"}]
`},
		{"/apis/storage.k8s.io/v1/storageclasses/" + storageClass, fmt.Sprintf(`apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: %s
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: %s
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
allowVolumeExpansion: true
`, storageClass, provisionerName)},
	}
}

// storageCheck are a claim and a Pod that is not root and writes into it: a cluster where that Pod succeeds
// has storage that works.
func storageCheck() []object {
	return []object{
		{checkClaim, fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  accessModes: [ReadWriteOncePod]
  resources: {requests: {storage: 1Mi}}
`, checkName)},
		{checkPod, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  restartPolicy: OnFailure
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532}
  containers:
  - name: write
    image: %[2]s
    imagePullPolicy: Never
    args: [write, /data/file]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: %[1]s}}]
`, checkName, pauseImage)},
	}
}

// dnsAccess lets CoreDNS read what names are made of.
func dnsAccess() []object {
	return []object{
		{system + "serviceaccounts/coredns", `apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns}
`},
		{rbac + "clusterroles/devcluster:coredns", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "devcluster:coredns"}
rules:
- {apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
`},
		{rbac + "clusterrolebindings/devcluster:coredns", `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "devcluster:coredns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "devcluster:coredns"}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
`},
	}
}

// dnsManifests run CoreDNS as an ordinary Deployment. It listens on a high port, so that it needs no right
// that others have not; the Service gives it the customary one.
func (c *Cluster) dnsManifests() []object {
	return []object{
		{system + "configmaps/coredns", fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: coredns}
data:
  Corefile: |
    %s:1053 in-addr.arpa:1053 ip6.arpa:1053 {
        errors
        health :8080
        ready :8181
        kubernetes {
            ttl 5
        }
        cache 5
        reload
    }
    .:1053 {
        errors
        template ANY ANY {
            rcode NXDOMAIN
        }
        loop
    }
`, layout.Domain)},
		{"/apis/apps/v1/namespaces/kube-system/deployments/coredns", fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, labels: {k8s-app: kube-dns}}
spec:
  replicas: 1
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      nodeSelector: {kubernetes.io/hostname: %s}
      dnsPolicy: Default
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: coredns
        image: %s
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        ports:
        - {name: dns, containerPort: 1053, protocol: UDP}
        - {name: dns-tcp, containerPort: 1053, protocol: TCP}
        readinessProbe: {httpGet: {path: /ready, port: 8181}, periodSeconds: 1}
        livenessProbe: {httpGet: {path: /health, port: 8080}, initialDelaySeconds: 30, timeoutSeconds: 5}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: config, mountPath: /etc/coredns, readOnly: true}]
      volumes: [{name: config, configMap: {name: coredns}}]
`, layout.NodeName(0), corednsImage)},
		{system + "services/kube-dns", fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: kube-dns, labels: {k8s-app: kube-dns}}
spec:
  clusterIP: %s
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, targetPort: 1053, protocol: UDP}
  - {name: dns-tcp, port: 53, targetPort: 1053, protocol: TCP}
`, c.DNS())},
	}
}
