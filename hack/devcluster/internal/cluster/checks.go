package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"raftsman.dev/hack/devcluster/internal/api"
	"raftsman.dev/hack/devcluster/internal/layout"
)

// check is one thing that must be so before a cluster is ready. ok names, beside what is amiss, the log in
// which the reason stands.
type check struct {
	name string
	ok   func(context.Context) (log string, err error)
}

type condition struct {
	Type              string
	Status            string
	Message           string
	LastHeartbeatTime time.Time
}

// nodeList is the part of the API's nodes that is looked at.
type nodeList struct {
	Items []struct {
		Metadata struct{ Name string }
		Status   struct{ Conditions []condition }
	}
}

// checks are done in this order, while everything starts side by side.
func (c *Cluster) checks(client *api.Client) []check {
	return []check{
		{"service accounts", func(ctx context.Context) (string, error) {
			for _, ns := range []string{"kube-system", "default"} {
				if err := client.Get(ctx, "/api/v1/namespaces/"+ns+"/serviceaccounts/default", nil); err != nil {
					return c.store.Log("kube-controller-manager"), err
				}
			}
			return "", c.applyAll(ctx, client, storageCheck())
		}},
		{"nodes ready", func(ctx context.Context) (string, error) { return c.nodesReady(ctx, client) }},
		{"CoreDNS ready", func(ctx context.Context) (string, error) { return c.dnsReady(ctx, client) }},
		{"storage works", func(ctx context.Context) (string, error) { return c.storageReady(ctx, client) }},
	}
}

// nodesReady says which node is not ready, of those that were not stopped on purpose.
func (c *Cluster) nodesReady(ctx context.Context, client *api.Client) (string, error) {
	var nodes nodeList
	if err := client.Get(ctx, "/api/v1/nodes", &nodes); err != nil {
		return c.store.Log("kube-apiserver"), err
	}
	for n := range c.State.Nodes {
		if slices.Contains(c.State.Stopped, n) {
			continue
		}
		if ok, why := nodes.ready(layout.NodeName(n), time.Time{}); !ok {
			return c.store.Log(nodeProcesses(n)[1]), fmt.Errorf("%s is not ready: %s", layout.NodeName(n), why)
		}
	}
	return "", nil
}

// ready says whether a node was ready at since or later, and why not.
func (l nodeList) ready(name string, since time.Time) (bool, string) {
	for _, item := range l.Items {
		if item.Metadata.Name != name {
			continue
		}
		for _, k := range item.Status.Conditions {
			if k.Type != "Ready" {
				continue
			}
			if k.LastHeartbeatTime.Before(since.Truncate(time.Second)) { // the API keeps whole seconds
				return false, "its kubelet has not reported yet"
			}
			return k.Status == "True", k.Message
		}
	}
	return false, "its kubelet has not registered it yet"
}

func (c *Cluster) dnsReady(ctx context.Context, client *api.Client) (string, error) {
	var d struct {
		Status struct {
			ReadyReplicas int
			Conditions    []condition
		}
	}
	if err := client.Get(ctx, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", &d); err != nil {
		return c.store.Log("kube-apiserver"), err
	}
	if d.Status.ReadyReplicas > 0 {
		return "", nil
	}
	// What keeps a Pod from starting stands in its node's log.
	return c.store.Log(nodeProcesses(0)[1]), fmt.Errorf("no CoreDNS Pod is ready: %v", d.Status.Conditions)
}

// storageReady waits for the Pod of the storage check to succeed.
func (c *Cluster) storageReady(ctx context.Context, client *api.Client) (string, error) {
	var p struct {
		Spec   struct{ NodeName string }
		Status struct {
			Phase             string
			Conditions        []condition
			ContainerStatuses []struct{ State map[string]any }
		}
	}
	if err := client.Get(ctx, checkPod, &p); err != nil {
		return c.store.Log("kube-apiserver"), err
	}
	if p.Status.Phase == "Succeeded" {
		return "", nil
	}
	log := c.store.Log("provisioner")
	if n, err := layout.NodeNumber(p.Spec.NodeName); err == nil {
		log = c.store.Log(nodeProcesses(n)[1])
	}
	return log, fmt.Errorf("the Pod that tries the storage out is %s: %v", p.Status.Phase, p.Status.Conditions)
}
