package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/node/admin"
)

// Cluster is a Kubernetes that is used through its API server only.
type Cluster struct {
	Kubeconfig string
	Kubectl    string // the programs' paths
	Helm       string
	Out        io.Writer
	API        client.WithWatch
	Core       kubernetes.Interface
	config     *rest.Config
	http       *http.Client
}

// Open reads a kubeconfig.
func Open(kubeconfig string, out io.Writer) (*Cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	config.QPS, config.Burst = 200, 400
	log.SetLogger(logr.Discard()) // the client library would complain of having none
	c := &Cluster{Kubeconfig: kubeconfig, Out: out, config: config}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), api.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, err
	}
	if c.Core, err = kubernetes.NewForConfigAndClient(config, c.http); err != nil {
		return nil, err
	}
	c.API, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: c.http, Mapper: mapper()})
	return c, err
}

// Run runs kubectl or helm on the cluster and returns all that it prints.
func (c *Cluster) Run(ctx context.Context, program string, args ...string) (string, error) {
	return c.RunWith(ctx, "", program, args...)
}

// RunWith is Run with an input.
func (c *Cluster) RunWith(ctx context.Context, input, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	cmd.Stdin = strings.NewReader(input)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return string(text), fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	return strings.TrimSpace(string(text)), nil
}

// URL is where a Pod's port is reached through the API server, with HTTP.
func (c *Cluster) URL(p Pod, port int) string {
	return fmt.Sprintf("%s/api/v1/namespaces/%s/pods/http:%s:%d/proxy", strings.TrimSuffix(c.config.Host, "/"), p.Namespace, p.Name, port)
}

// HTTP carries requests to URLs.
func (c *Cluster) HTTP() *http.Client { return c.http }

// adminPort is where members tell how they are; memberPatience is how long one may take over it.
const (
	adminPort      = 2382
	memberPatience = 5 * time.Second
)

// Member asks a member how it is.
func (c *Cluster) Member(ctx context.Context, p Pod, options admin.StatusOptions) (admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	status, err := admin.Client{HTTP: c.http}.Status(ctx, c.URL(p, adminPort), options)
	if err != nil {
		return status, fmt.Errorf("status of %s: %w", p.Name, err)
	}
	return status, nil
}

// Forward makes a Pod's port answer on this machine's loopback until stop is called. It goes by the Pod's
// node and reaches Pods that no other Pod reaches.
func (c *Cluster) Forward(p Pod, port int) (address string, stop func(), err error) {
	carrier, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return "", nil, err
	}
	url := c.Core.CoreV1().RESTClient().Post().Resource("pods").Namespace(p.Namespace).Name(p.Name).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: carrier}, http.MethodPost, url)
	end, ready, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, end, ready, io.Discard, io.Discard)
	if err != nil {
		return "", nil, err
	}
	go func() { failed <- forwarder.ForwardPorts() }()
	stop = func() {
		close(end)
		<-failed
	}
	select {
	case <-ready:
	case err := <-failed:
		return "", nil, fmt.Errorf("forward port %d of %s: %w", port, p.Name, err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		stop()
		return "", nil, err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), stop, nil
}

// Logs are the lines that a Pod's present container has written, behind those of the one before where there
// was one.
func (c *Cluster) Logs(ctx context.Context, p Pod) ([]string, error) {
	pod, err := c.Core.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, previous := range []bool{true, false} {
		if previous && (len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].RestartCount == 0) {
			continue
		}
		text, err := c.Core.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", p.Name, err)
		}
		all = append(all, strings.Split(string(text), "\n")...)
	}
	return all, nil
}

// Pods are the Pods that labels select, by name.
func (c *Cluster) Pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
