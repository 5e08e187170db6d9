// Command kube is Kubernetes in one program: the API server, the controller manager, the scheduler, the
// kubelet, kube-proxy and kubectl. It acts as the one it is called by: through a link of that name, or as
// `kube NAME ARGS…`. One program is compiled and linked once where six would be linked six times, and a
// machine that runs four nodes maps its code once.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // CronJobs may name time zones, and the machine may have no zone files

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's ways to authenticate
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the clients' own metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// commands makes the command of each program. Making one registers feature gates for the whole process,
// so only the one that was asked for may be made.
func commands() map[string]func() *cobra.Command {
	return map[string]func() *cobra.Command{
		"kube-apiserver":          apiserver.NewAPIServerCommand,
		"kube-controller-manager": func() *cobra.Command { return controllermanager.NewControllerManagerCommand() },
		"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kube-proxy":              proxy.NewProxyCommand,
		"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	}
}

func main() {
	name := filepath.Base(os.Args[0])
	known := commands()
	if known[name] == nil && name != "kubectl" && len(os.Args) > 1 {
		os.Args = os.Args[1:] // the programs read os.Args themselves: they must see their own name first
		name = os.Args[0]
	}
	if name == "kubectl" {
		runKubectl()
		return
	}
	if known[name] == nil {
		fmt.Fprintf(os.Stderr, "kube: call it through a link named like a program, or give one as the first argument: %s, kubectl\n",
			strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		os.Exit(2)
	}
	os.Exit(cli.Run(known[name]()))
}

// runKubectl is kubectl's own main: its verbosity must be set before its command is made, and it prints
// its errors in its own way.
func runKubectl() {
	if _, err := logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, "kubectl:", err)
	}
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
