package programs

import (
	"maps"
	"slices"
)

// KubernetesVersion is the release that the module beside this one requires.
const KubernetesVersion = "1.37.2"

const (
	containerdVersion = "v2.4.2"
	helmVersion       = "v4.3.1"
	stripped          = "-s -w"
)

// Program is one thing that is built: one or several files that come from one source.
type Program struct {
	Name    string
	Dir     string   // its package in the programs module, where the source is ours
	Package string   // its package where it is not
	Version string   // for a package of a module that is not required there
	Files   []string // what building it gives
	Ldflags string
	Note    string // what to expect while it builds
}

// catalogue lists all programs, the longest build first.
func catalogue() []Program {
	const version = "k8s.io/component-base/version."
	containerd := func(file string) Program {
		return Program{Name: file, Package: "github.com/containerd/containerd/v2/cmd/" + file, Version: containerdVersion, Files: []string{file}, Ldflags: stripped}
	}
	return []Program{
		{
			Name: "kube", Dir: "./kube", Files: []string{"kube"}, Note: "all of Kubernetes; about 9 minutes on two cores the first time",
			Ldflags: stripped + " -X " + version + "gitVersion=v" + KubernetesVersion + " -X " + version + "gitMajor=1 -X " + version + "gitMinor=37",
		},
		{Name: "etcd", Package: "go.etcd.io/etcd/server/v3", Files: []string{"etcd"}, Ldflags: stripped},
		{Name: "etcdctl", Package: "go.etcd.io/etcd/etcdctl/v3", Files: []string{"etcdctl"}, Ldflags: stripped},
		{Name: "coredns", Dir: "./coredns", Files: []string{"coredns"}, Ldflags: stripped},
		{Name: "provisioner", Dir: "./provisioner", Files: []string{"provisioner"}, Ldflags: stripped},
		{Name: "pause", Dir: "./pause", Files: []string{"pause"}, Ldflags: stripped},
		containerd("containerd"),
		containerd("containerd-shim-runc-v2"),
		containerd("ctr"),
		{Name: "helm", Package: "helm.sh/helm/v4/cmd/helm", Version: helmVersion, Files: []string{"helm"}, Ldflags: stripped},
	}
}

// links are the names that the program kube goes by.
func links() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"}
}

// Node are the programs that a cluster cannot do without.
func Node() []string {
	return []string{"kube", "etcd", "coredns", "provisioner", "pause", "containerd", "containerd-shim-runc-v2", "ctr"}
}

// Tools are the names that Tool knows.
func Tools() []string {
	names := map[string]bool{}
	for _, p := range catalogue() {
		names[p.Name] = true
	}
	for _, l := range links() {
		names[l] = true
	}
	return slices.Sorted(maps.Keys(names))
}
