package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"raftsman.dev/controllers"
)

// newOperatorCommand is `raftsman operator`: it looks after RaftClusters until it is told to stop.
func newOperatorCommand() *cobra.Command {
	o := controllers.Options{}
	level := "info"
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Look after the RaftClusters of a Kubernetes cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(level)
			if err != nil {
				return err
			}
			o.Log = log
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runOperator(ctx, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.MemberImage, "member-image", os.Getenv("RAFTSMAN_MEMBER_IMAGE"), "image of members whose RaftCluster names none (RAFTSMAN_MEMBER_IMAGE)")
	f.BoolVar(&o.LeaderElect, "leader-elect", false, "let only one of several operators work at a time")
	f.StringVar(&o.LeaseName, "lease-name", "raftsman-operator", "name of the lease by which operators elect a leader")
	f.StringVar(&o.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of the lease (POD_NAMESPACE)")
	f.StringVar(&o.HealthAddress, "health-address", ":8081", "address of /healthz and /readyz; 0 for none")
	f.StringVar(&o.MetricsAddress, "metrics-address", ":8080", "address of /metrics; 0 for none")
	f.StringSliceVar(&o.WatchNamespaces, "watch-namespaces", nil, "namespaces to look after, separated by commas; empty for all")
	f.IntVar(&o.Concurrency, "concurrency", 4, "how many RaftClusters are looked after at the same moment")
	f.DurationVar(&o.Poll, "poll-interval", 10*time.Second, "how often members at rest are asked how they are")
	f.StringVar(&level, "log-level", level, "least severe level that is logged: debug, info or error")
	cmd.AddCommand(newProbeCommand())
	return cmd
}

func runOperator(ctx context.Context, o controllers.Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	rest, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: this is no Pod and there is no kubeconfig: set KUBECONFIG (%w)", err)
	}
	logf.SetLogger(o.Log)
	klog.SetLogger(o.Log)
	m, err := controllers.NewManager(rest, o)
	if err != nil {
		return err
	}
	o.Log.Info("starting", "version", version, "namespaces", o.WatchNamespaces, "image", o.MemberImage)
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("run the operator: %w", err)
	}
	return nil
}

// newProbeCommand is `raftsman operator probe URL`: the image has no shell, and the chart's test asks with it.
func newProbeCommand() *cobra.Command {
	timeout := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "probe URL",
		Short: "Ask a URL until it answers 200, or fail",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return probe(ctx, args[0])
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to go on asking")
	return cmd
}

func probe(ctx context.Context, url string) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probeOnce(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func probeOnce(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%s is not a URL: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
