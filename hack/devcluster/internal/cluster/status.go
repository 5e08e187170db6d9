package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftsman.dev/hack/devcluster/internal/layout"
)

const statusTimeout = 10 * time.Second

// Status prints how the cluster is, and gives an error where it is not as it should be.
func (c *Cluster) Status(ctx context.Context) error {
	if err := c.MustRun(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	fmt.Fprintf(c.Out, "cluster     %s\nAPI         %s\nkubeconfig  %s\nstate       %s\n", c.Name, c.server(), c.Kubeconfig(), c.Dir())
	fmt.Fprintf(c.Out, "nodes       %s\npods        %s\nservices    %s\nDNS         %s (%s)\n", c.NodeRange(), c.PodRange(), c.ServiceRange(), layout.Domain, c.DNS())
	fmt.Fprintf(c.Out, "store       %s\n", c.State.Store)
	if c.State.Store == StoreRaftsman {
		if err := c.Members(ctx, c.Out); err != nil {
			return err
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	var nodes nodeList
	if err := client.Get(ctx, "/api/v1/nodes", &nodes); err != nil {
		return err
	}
	var bad []string
	for n := range c.State.Nodes {
		name := layout.NodeName(n)
		word := "ready"
		if slices.Contains(c.State.Stopped, n) {
			word = "stopped"
		} else if ok, why := nodes.ready(name, time.Time{}); !ok {
			word = "not ready: " + why
			bad = append(bad, name)
		}
		fmt.Fprintf(c.Out, "%-11s %s %s\n", name, c.NodeIP(n), word)
	}
	if len(bad) > 0 {
		return fmt.Errorf("cluster %s runs, but %s are not ready", c.Name, strings.Join(bad, ", "))
	}
	return nil
}
