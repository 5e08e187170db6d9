package space

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// bridge joins the nodes, in the first node's namespace; uplink is how the others reach it.
const (
	bridge = "nodes"
	uplink = "uplink"
)

// Port is one node on the network of nodes.
type Port struct {
	Holder  int          // PID of the node's holder
	Address netip.Prefix // its address, with the length of the nodes' network
	Pods    netip.Prefix // what it routes
}

// NewPort describes a node by its holder, its address with the length of the nodes' network (a.b.c.d/n)
// and the range of its Pods.
func NewPort(holder int, address string, pods netip.Prefix) (Port, error) {
	a, err := netip.ParsePrefix(address)
	return Port{Holder: holder, Address: a, Pods: pods}, err
}

// Wire joins the nodes: the first holds a bridge, each other hangs on it by a veth pair, and each has a
// route to every other's Pods. services is routed into the bridge, for no other reason than that kube-proxy
// rewrites an address only after a route to it was found.
func Wire(ports []Port, services netip.Prefix) error {
	handles := make([]*netlink.Handle, 0, len(ports))
	for _, p := range ports {
		h, err := handleAt(p.Holder)
		if err != nil {
			return err
		}
		defer h.Close()
		handles = append(handles, h)
	}
	first := handles[0]
	if err := first.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}); err != nil {
		return fmt.Errorf("make the bridge of the nodes (kernel module bridge): %w", err)
	}
	for i, p := range ports {
		name := bridge
		if i > 0 {
			name = uplink
			if err := plug(first, i, p.Holder); err != nil {
				return err
			}
		}
		if err := address(handles[i], name, p.Address); err != nil {
			return err
		}
	}
	for i, h := range handles {
		if err := routes(h, i, ports, services); err != nil {
			return err
		}
	}
	return nil
}

func handleAt(pid int) (*netlink.Handle, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	return h, nil
}

func portName(node int) string { return fmt.Sprintf("node-%d", node) }

// plug joins a node to the bridge.
func plug(first *netlink.Handle, node, holder int) error {
	master, err := first.LinkByName(bridge)
	if err != nil {
		return err
	}
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: portName(node), MasterIndex: master.Attrs().Index},
		PeerName:      uplink,
		PeerNamespace: netlink.NsPid(holder),
	}
	if err := first.LinkAdd(pair); err != nil {
		return fmt.Errorf("make the link of node %d (kernel module veth): %w", node, err)
	}
	return setLink(first, portName(node), true)
}

func setLink(h *netlink.Handle, name string, up bool) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if up {
		return h.LinkSetUp(link)
	}
	return h.LinkSetDown(link)
}

func address(h *netlink.Handle, name string, a netip.Prefix) error {
	for _, n := range []string{"lo", name} {
		if err := setLink(h, n, true); err != nil {
			return err
		}
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
		return fmt.Errorf("address %s on %s: %w", a, name, err)
	}
	return nil
}

func routes(h *netlink.Handle, node int, ports []Port, services netip.Prefix) error {
	name := bridge
	if node > 0 {
		name = uplink
	}
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(services), Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to %s: %w", services, err)
	}
	for j, other := range ports {
		if j == node {
			continue
		}
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(other.Pods), Gw: net.IP(other.Address.Addr().AsSlice())}
		if err := h.RouteAdd(r); err != nil {
			return fmt.Errorf("route from node %d to %s: %w", node, other.Pods, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// SetPort takes the link of a node to the bridge up or down. firstHolder is the first node's holder.
func SetPort(firstHolder, node int, up bool) error {
	h, err := handleAt(firstHolder)
	if err != nil {
		return err
	}
	defer h.Close()
	return setLink(h, portName(node), up)
}

// Probe finds out whether this kernel makes what a dev cluster needs, in a network namespace that goes
// with the probe.
func Probe() error {
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, and the namespace with it, ends here
		failed <- probe()
	}()
	return <-failed
}

func probe() error {
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}); err != nil {
		return fmt.Errorf("make a bridge (kernel module bridge): %w", err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe-a"}, PeerName: "probe-b"}
	if err := h.LinkAdd(pair); err != nil {
		return fmt.Errorf("make a veth pair (kernel module veth): %w", err)
	}
	return nil
}
