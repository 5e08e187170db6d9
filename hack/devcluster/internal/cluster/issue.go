package cluster

import (
	"fmt"
	"net/netip"
	"time"

	"raftsman.dev/hack/devcluster/internal/layout"
	"raftsman.dev/hack/devcluster/internal/pki"
)

// issue makes all certificates and kubeconfigs of the cluster.
func (c *Cluster) issue() error {
	ca, err := pki.New(c.Path("pki"), time.Now())
	if err != nil {
		return err
	}
	for _, s := range append(c.servers(), c.clients()...) {
		if err := ca.Issue(s); err != nil {
			return err
		}
	}
	if err := ca.IssueKey("service-account"); err != nil {
		return err
	}
	inside := fmt.Sprintf("https://%s:%d", c.NodeIP(0), apiPort)
	for _, s := range c.clients() {
		if err := ca.Kubeconfig(c.internalConfig(s.File), c.Name, inside, s.File); err != nil {
			return err
		}
	}
	return ca.Kubeconfig(c.Kubeconfig(), "devcluster-"+c.Name, c.server(), "admin")
}

// servers are the certificates of those that are called.
func (c *Cluster) servers() []pki.Subject {
	subjects := []pki.Subject{{
		File: "kube-apiserver", User: "kube-apiserver",
		Names: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + layout.Domain},
		IPs:   []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.NodeIP(0), c.APIService()},
	}}
	for n := range c.State.Nodes {
		name := layout.NodeName(n)
		subjects = append(subjects, pki.Subject{File: name + "-server", User: "system:node:" + name, Names: []string{name}, IPs: []netip.Addr{c.NodeIP(n)}})
	}
	return subjects
}

// clients are the certificates of those that call the API server, and of the API server as it calls kubelets.
func (c *Cluster) clients() []pki.Subject {
	masters := []string{"system:masters"}
	subjects := []pki.Subject{
		{File: "admin", User: "admin", Groups: masters},
		{File: "kubelet-client", User: "kube-apiserver-kubelet-client", Groups: masters},
		{File: "controller-manager", User: "system:kube-controller-manager"},
		{File: "scheduler", User: "system:kube-scheduler"},
		{File: "kube-proxy", User: "system:kube-proxy"},
		{File: "provisioner", User: "devcluster:provisioner"},
	}
	for n := range c.State.Nodes {
		name := layout.NodeName(n)
		subjects = append(subjects, pki.Subject{File: name, User: "system:node:" + name, Groups: []string{"system:nodes"}})
	}
	return subjects
}
