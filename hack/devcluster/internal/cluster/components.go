package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/machine"
	"raftsman.dev/hack/devcluster/internal/process"
)

// apiPort is where the API server listens inside the first node's namespace.
const apiPort = 6443

// binary is the path of a program in the cache whose one file has its name.
func (c *Cluster) binary(program string) (string, error) { return c.Shelf.Path(program, program) }

// kube is the path of a program that is part of kube.
func (c *Cluster) kube(name string) (string, error) { return c.Shelf.Path("kube", name) }

// launch starts argv as a process of a node, in its namespaces and its control group.
func (c *Cluster) launch(node int, name string, argv ...string) (*process.Process, error) {
	enter, err := c.EnterArgs(node, true)
	if err != nil {
		return nil, err
	}
	enter = append(enter, "--cgroup", c.tree.ProcsFile(c.SystemCgroup(node)), "--")
	path, err := c.searchPath()
	if err != nil {
		return nil, err
	}
	return c.store.Start(name, append(enter, argv...), []string{path})
}

// searchPath is the PATH of a node's programs: containerd finds its shim there, and all find the machine's
// tools even where the caller's PATH is short.
func (c *Cluster) searchPath() (string, error) {
	dirs := []string{}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2"} {
		path, err := c.binary(program)
		if err != nil {
			return "", err
		}
		dirs = append(dirs, filepath.Dir(path))
	}
	dirs = append(dirs, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	return "PATH=" + strings.Join(dirs, ":"), nil
}

func (c *Cluster) startEtcd() (*process.Process, error) {
	etcd, err := c.binary("etcd")
	if err != nil {
		return nil, err
	}
	const client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return c.launch(0, "etcd", etcd,
		"--name=devcluster", "--data-dir="+c.Path("etcd"), "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=devcluster="+peer,
		"--unsafe-no-fsync", // a dev cluster's own state is not worth the disk's time
	)
}

func (c *Cluster) startAPIServer() (*process.Process, error) {
	bin, err := c.kube("kube-apiserver")
	if err != nil {
		return nil, err
	}
	pki := func(file string) string { return c.Path("pki", file) }
	return c.launch(0, "kube-apiserver", append([]string{
		bin,
		"--etcd-servers=" + c.storeURLs(),
		fmt.Sprintf("--secure-port=%d", apiPort), "--advertise-address=" + c.NodeIP(0).String(),
		"--client-ca-file=" + pki("ca.crt"),
		"--tls-cert-file=" + pki("kube-apiserver.crt"), "--tls-private-key-file=" + pki("kube-apiserver.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("kubelet-client.crt"), "--kubelet-client-key=" + pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc." + layout.Domain,
		"--service-account-key-file=" + pki("service-account.pub"), "--service-account-signing-key-file=" + pki("service-account.key"),
		"--service-cluster-ip-range=" + c.ServiceRange().String(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
	}, c.State.APIServerFlags...)...)
}

func (c *Cluster) startControllerManager() (*process.Process, error) {
	bin, err := c.kube("kube-controller-manager")
	if err != nil {
		return nil, err
	}
	return c.launch(0, "kube-controller-manager", bin,
		"--kubeconfig="+c.internalConfig("controller-manager"), "--bind-address=127.0.0.1",
		"--root-ca-file="+c.Path("pki", "ca.crt"), "--service-account-private-key-file="+c.Path("pki", "service-account.key"),
		"--use-service-account-credentials=true", "--leader-elect=false",
		"--cluster-cidr="+c.PodRange().String(), "--allocate-node-cidrs=false",
		"--flex-volume-plugin-dir="+c.Path("no-plugins"), "--profiling=false",
	)
}

func (c *Cluster) startScheduler() (*process.Process, error) {
	bin, err := c.kube("kube-scheduler")
	if err != nil {
		return nil, err
	}
	return c.launch(0, "kube-scheduler", bin,
		"--kubeconfig="+c.internalConfig("scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false")
}

func (c *Cluster) startProvisioner() (*process.Process, error) {
	bin, err := c.binary("provisioner")
	if err != nil {
		return nil, err
	}
	return c.launch(0, "provisioner", bin, "--kubeconfig="+c.internalConfig("provisioner"), "--name="+provisionerName, "--root="+c.Path("volumes"))
}

// internalConfig is the kubeconfig with which a component reaches the API server inside the namespaces.
func (c *Cluster) internalConfig(file string) string { return c.Path("pki", file+".kubeconfig") }

// startForwarder lets the API server be reached on the machine's loopback: the listening socket is made out
// here, and the process that serves it lives in there.
func (c *Cluster) startForwarder(listener *os.File) (*process.Process, error) {
	enter, err := c.EnterArgs(0, false)
	if err != nil {
		return nil, err
	}
	argv := append(enter, "--cgroup", c.tree.ProcsFile(c.SystemCgroup(0)), "--",
		c.self(), "forward", fmt.Sprintf("127.0.0.1:%d", apiPort))
	return c.store.Start("forwarder", argv, nil, listener)
}

// containerdConfig is the configuration of a node's containerd. Its paths are the customary ones: in the
// node's mount namespace they are the node's own.
func containerdConfig() string {
	dirs := make([]string, 0, len(machine.PluginDirs()))
	for _, d := range machine.PluginDirs() {
		dirs = append(dirs, fmt.Sprintf("%q", d))
	}
	return fmt.Sprintf(`version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true # a machine may lack the right to lower a score
  disable_apparmor = true       # a profile would be loaded into the machine's kernel and stay there
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%s]
    conf_dir = "/var/lib/cni-config"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
`, pauseImage, strings.Join(dirs, ", "))
}

// networkConfig gives each Pod a link of its own to its node, which routes: that way the traffic of two
// Pods of one node passes kube-proxy's rules too.
func (c *Cluster) networkConfig(node int) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "devcluster",
  "plugins": [{
    "type": "ptp",
    "ipMasq": false,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`, c.NodePodRange(node))
}

func (c *Cluster) kubeletConfig(node int) string {
	pki := func(file string) string { return c.Path("pki", file) }
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %s}
authorization: {mode: Webhook}
tlsCertFile: %s
tlsPrivateKeyFile: %s
cgroupDriver: cgroupfs
cgroupRoot: %s
failCgroupV1: false
failSwapOn: false
clusterDNS: [%s]
clusterDomain: %s
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: %s
volumePluginDir: %s
# Images were loaded by hand and cannot be pulled again, so none is ever collected; and a machine whose disk
# is rather full is no reason to evict anything.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%%, imagefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.inodesFree: 1%%}
`, pki("ca.crt"), pki(layout.NodeName(node)+"-server.crt"), pki(layout.NodeName(node)+"-server.key"),
		c.PodsCgroup(node), c.DNS(), layout.Domain, c.Path("no-resolv.conf"), c.Path("no-plugins"))
}

func (c *Cluster) proxyConfig(node int) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: %s
detectLocalMode: ClusterCIDR
hostnameOverride: %s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: %s}
# The sizes of the connection table belong to the machine and are left alone.
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
`, c.PodRange(), layout.NodeName(node), c.internalConfig("kube-proxy"))
}

// writeNode writes a node's configuration files.
func (c *Cluster) writeNode(node int) error {
	dir := c.NodeDir(node)
	for file, text := range map[string]string{
		"containerd.toml":                    containerdConfig(),
		"kubelet.yaml":                       c.kubeletConfig(node),
		"kube-proxy.yaml":                    c.proxyConfig(node),
		"var-lib/cni-config/10-ptp.conflist": c.networkConfig(node),
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startContainerd(node int) (*process.Process, error) {
	bin, err := c.binary("containerd")
	if err != nil {
		return nil, err
	}
	return c.launch(node, nodeProcesses(node)[0], bin, "--config", filepath.Join(c.NodeDir(node), "containerd.toml"))
}

// startNode starts what makes a machine with a running containerd a node of the cluster.
func (c *Cluster) startNode(node int) ([]*process.Process, error) {
	kubelet, err := c.kube("kubelet")
	if err != nil {
		return nil, err
	}
	proxy, err := c.kube("kube-proxy")
	if err != nil {
		return nil, err
	}
	dir, names := c.NodeDir(node), nodeProcesses(node)
	k, err := c.launch(node, names[1], kubelet,
		"--config="+filepath.Join(dir, "kubelet.yaml"), "--kubeconfig="+c.internalConfig(layout.NodeName(node)),
		"--hostname-override="+layout.NodeName(node), "--node-ip="+c.NodeIP(node).String())
	if err != nil {
		return nil, err
	}
	p, err := c.launch(node, names[2], proxy, "--config="+filepath.Join(dir, "kube-proxy.yaml"))
	if err != nil {
		return nil, err
	}
	return []*process.Process{k, p}, nil
}
