// Package layout decides where everything of one dev cluster lives: its files, its control groups, its
// addresses and its port. It is arithmetic on a name and a slot; it touches nothing.
//
// Two clusters never share an address: each takes a slot, and every range is derived from it. The ranges
// exist only inside the cluster's own network namespaces; the one address that the machine itself sees
// is the API server's port on its loopback.
package layout

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
)

const (
	// Root holds the state of every dev cluster of the machine, one directory each.
	Root = "/var/lib/raftsman-devcluster"
	// Domain is the clusters' DNS domain. It is not the customary one on purpose: a program that has
	// the customary one built in fails here, not at a user's.
	Domain = "dev.raftsman"
	// Slots bounds how many clusters a machine can hold at once.
	Slots = 32
	// MaxNodes bounds the nodes of one cluster.
	MaxNodes = 9

	cgroupParent = "raftsman-devcluster"
	firstPort    = 16443
	portTries    = 8
)

// Cluster names one cluster and its slot. Base is Root except in tests.
type Cluster struct {
	Base string
	Name string
	Slot int
}

// CheckName refuses a name that cannot be part of file names, host names and control groups.
func CheckName(name string) error {
	if !regexp.MustCompile(`^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$`).MatchString(name) {
		return fmt.Errorf("cluster name %q: use 1 to 20 lower-case letters, digits and inner dashes, a letter first", name)
	}
	return nil
}

// CheckNodes refuses a number of nodes that the address ranges have no room for.
func CheckNodes(n int) error {
	if n < 1 || n > MaxNodes {
		return fmt.Errorf("%d nodes: choose 1 to %d", n, MaxNodes)
	}
	return nil
}

// Dir is the directory that holds all files of the cluster.
func (c Cluster) Dir() string { return filepath.Join(c.Base, c.Name) }

// Path is a file of the cluster.
func (c Cluster) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir()}, elem...)...)
}

// NodeDir is the directory of one node's files.
func (c Cluster) NodeDir(node int) string { return c.Path(NodeName(node)) }

// Kubeconfig is the administrator's kubeconfig, for use from anywhere on the machine.
func (c Cluster) Kubeconfig() string { return c.Path("kubeconfig") }

// NodeName is the name under which a node registers.
func NodeName(node int) string { return "node-" + strconv.Itoa(node) }

// NodeNumber is the inverse of NodeName.
func NodeNumber(name string) (int, error) {
	var n int
	if _, err := fmt.Sscanf(name, "node-%d", &n); err != nil || NodeName(n) != name {
		return 0, fmt.Errorf("node %q: nodes are named node-0, node-1 and so on", name)
	}
	return n, nil
}

// Cgroup is the cluster's control group, below which lie all others, as a path from a hierarchy's root.
func (c Cluster) Cgroup() string { return "/" + cgroupParent + "/" + c.Name }

// SystemCgroup holds the processes that the dev cluster itself starts for a node, containers not included.
func (c Cluster) SystemCgroup(node int) string {
	return c.Cgroup() + "/" + NodeName(node) + "-system"
}

// PodsCgroup is the root that a node's kubelet works under.
func (c Cluster) PodsCgroup(node int) string { return c.Cgroup() + "/" + NodeName(node) }

// CgroupParent is the control group that holds all clusters' ones.
func CgroupParent() string { return "/" + cgroupParent }

func ipv4(a, b, c, d int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)})
}

// NodeRange is the network that joins the nodes.
func (c Cluster) NodeRange() netip.Prefix { return netip.PrefixFrom(ipv4(172, 29, c.Slot, 0), 24) }

// NodeIP is a node's address in NodeRange.
func (c Cluster) NodeIP(node int) netip.Addr { return ipv4(172, 29, c.Slot, 10+node) }

// PodRange holds the Pod ranges of all nodes.
func (c Cluster) PodRange() netip.Prefix { return netip.PrefixFrom(ipv4(10, 64+c.Slot, 0, 0), 16) }

// NodePodRange is the range of one node's Pods.
func (c Cluster) NodePodRange(node int) netip.Prefix {
	return netip.PrefixFrom(ipv4(10, 64+c.Slot, node, 0), 24)
}

// Gateway is the address by which a node's Pods see their node, the kubelet's probes included.
func (c Cluster) Gateway(node int) netip.Addr { return ipv4(10, 64+c.Slot, node, 1) }

// ServiceRange is the range of the Services' addresses.
func (c Cluster) ServiceRange() netip.Prefix {
	return netip.PrefixFrom(ipv4(10, 128+c.Slot, 0, 0), 16)
}

// APIService is the address of the Service kubernetes.
func (c Cluster) APIService() netip.Addr { return ipv4(10, 128+c.Slot, 0, 1) }

// DNS is the address of the cluster's DNS Service.
func (c Cluster) DNS() netip.Addr { return ipv4(10, 128+c.Slot, 0, 10) }

// Ports are the loopback ports to try for the API server, the cluster's own first. No other slot has any
// of them.
func (c Cluster) Ports() []int {
	ports := make([]int, 0, portTries)
	for i := range portTries {
		ports = append(ports, firstPort+c.Slot+i*Slots)
	}
	return ports
}

// FreeSlot is the lowest slot that is not taken.
func FreeSlot(taken map[int]bool) (int, error) {
	for s := range Slots {
		if !taken[s] {
			return s, nil
		}
	}
	return 0, fmt.Errorf("all %d slots are taken: run `down` for a cluster that is not needed (they lie in %s)", Slots, Root)
}
