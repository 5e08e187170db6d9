// Package life holds the tests of the operator's whole work on a real API server: etcd, kube-apiserver and
// kube-controller-manager run as child processes on loopback, the operator under test is the real manager
// with the real role, and only the members are simulated. TestHundred runs the program itself, as a process of its own,
// over many RaftClusters and measures it: `make hundred`. The package has no code of its own.
package life

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// programsDir names a directory that holds the programs already; without it they are built.
const programsDir = "RAFTSMAN_PROGRAMS"

// found are the paths of programs that have been asked for already.
var found sync.Map

// program is the path of one of Kubernetes' or etcd's programs. hack/devcluster builds it into the user's cache
// the first time, which takes minutes.
func program(ctx context.Context, name string) (string, error) {
	if dir := os.Getenv(programsDir); dir != "" {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s names a directory without %s: %w", programsDir, name, err)
		}
		return path, nil
	}
	if path, ok := found.Load(name); ok {
		return path.(string), nil
	}
	build := exec.CommandContext(ctx, "go", "run", ".", "tool", name)
	build.Dir = "../../hack/devcluster"
	build.Stderr = os.Stderr
	out, err := build.Output()
	if err != nil {
		return "", fmt.Errorf("build %s with hack/devcluster: %w (or set %s to a directory that has it)", name, err, programsDir)
	}
	path := strings.TrimSpace(string(out))
	found.Store(name, path)
	return path, nil
}

// plane is a control plane of its own: etcd, API server and controller manager.
type plane struct {
	dir        string
	admin      *rest.Config
	kubeconfig string
	// audit is the file into which the API server writes a line for each request of the operator's own account.
	audit    string
	children []*child
}

// start brings the control plane up. The controllers are those that a StatefulSet's life needs.
func start(ctx context.Context) (p *plane, err error) {
	dir, err := os.MkdirTemp("", "raftsman-life-")
	if err != nil {
		return nil, err
	}
	p = &plane{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	ports, err := freePorts(3)
	if err != nil {
		return p, err
	}
	if err := p.startEtcd(ctx, ports[0], ports[1]); err != nil {
		return p, err
	}
	if err := p.startAPI(ctx, ports[0], ports[2]); err != nil {
		return p, err
	}
	return p, nil
}

func (p *plane) startEtcd(ctx context.Context, clients, peers int) error {
	own := fmt.Sprintf("http://127.0.0.1:%d", peers)
	serve := fmt.Sprintf("http://127.0.0.1:%d", clients)
	return p.run(ctx, "etcd", "--name=life", "--data-dir="+filepath.Join(p.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls="+serve, "--advertise-client-urls="+serve,
		"--listen-peer-urls="+own, "--initial-advertise-peer-urls="+own, "--initial-cluster=life="+own)
}

func (p *plane) startAPI(ctx context.Context, etcd, port int) error {
	key, token, err := p.secrets()
	if err != nil {
		return err
	}
	policy, err := p.auditing()
	if err != nil {
		return err
	}
	certs := filepath.Join(p.dir, "certs")
	err = p.run(ctx, "kube-apiserver",
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcd),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir="+certs,
		"--endpoint-reconciler-type=none", "--authorization-mode=RBAC", "--token-auth-file="+filepath.Join(p.dir, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key, "--service-account-signing-key-file="+key,
		"--service-cluster-ip-range=10.96.0.0/16", "--audit-policy-file="+policy, "--audit-log-path="+p.audit)
	if err != nil {
		return err
	}
	p.admin = &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", port), BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(certs, "apiserver.crt")},
	}
	if p.kubeconfig, err = p.writeKubeconfig("admin", token); err != nil {
		return err
	}
	return p.ready(ctx)
}

// writeKubeconfig makes the file with which a client of this API server has the rights of a token.
func (p *plane) writeKubeconfig(name, token string) (path string, err error) {
	path = filepath.Join(p.dir, "kubeconfig-"+name)
	return path, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"life": {Server: p.admin.Host, CertificateAuthority: p.admin.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"life": {Cluster: "life", AuthInfo: name}},
		CurrentContext: "life",
	}, path)
}

// auditing makes the policy by which requests of the operator's account are logged once, when they are over. Who only
// impersonates that account, as the operators inside this process do, is somebody else to the API server's log.
func (p *plane) auditing() (policy string, err error) {
	p.audit, policy = filepath.Join(p.dir, "audit.log"), filepath.Join(p.dir, "audit.yaml")
	text := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived, ResponseStarted]\n" +
		"rules:\n- {level: Metadata, users: ['" + account + "']}\n- {level: None}\n"
	return policy, os.WriteFile(policy, []byte(text), 0o600)
}

// startControllers runs the controllers that make Pods and claims of StatefulSets, count disruptions, hold claims
// that are in use and collect what has lost its owner. It comes after the CRDs, so that the collector knows them.
func (p *plane) startControllers(ctx context.Context) error {
	return p.run(ctx, "kube-controller-manager", "--kubeconfig="+p.kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=500", "--kube-api-burst=500", // how fast it may be is nothing that is tested here
		"--controllers=statefulset-controller,disruption-controller,persistentvolumeclaim-protection-controller,garbage-collector-controller,serviceaccount-controller")
}

// secrets makes the key of service account tokens and the token of the tests.
func (p *plane) secrets() (key, token string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return "", "", err
	}
	key = filepath.Join(p.dir, "accounts.key")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return "", "", err
	}
	var bits [16]byte
	if _, err := rand.Read(bits[:]); err != nil {
		return "", "", err
	}
	token = hex.EncodeToString(bits[:])
	return key, token, os.WriteFile(filepath.Join(p.dir, "tokens.csv"), []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600)
}

// ready waits until the API server serves, or has ended.
func (p *plane) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if _, last = os.Stat(p.admin.CAFile); last == nil {
			if last = healthy(ctx, p.admin); last == nil {
				return nil
			}
		}
		for _, c := range p.children {
			if c.over() {
				return fmt.Errorf("%s has ended: %w\n%s", c.name, c.err, c.tail())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready after 2m: %w", last)
		case <-tick.C:
		}
	}
}

func healthy(ctx context.Context, config *rest.Config) error {
	c, err := rest.UnversionedRESTClientFor(bare(config))
	if err != nil {
		return err
	}
	return c.Get().AbsPath("/readyz").Do(ctx).Error()
}

// stop ends what was started, the last first, and removes its files.
func (p *plane) stop() error {
	for i := len(p.children) - 1; i >= 0; i-- {
		p.children[i].kill()
	}
	return os.RemoveAll(p.dir)
}

// child is one process that ends with this one.
type child struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// run starts one of the control plane's programs.
func (p *plane) run(ctx context.Context, name string, args ...string) error {
	path, err := program(ctx, name)
	if err != nil {
		return err
	}
	_, err = p.launch(name, exec.Command(path, args...))
	return err
}

// launch starts a child, which stop ends if it has not ended by then.
func (p *plane) launch(name string, cmd *exec.Cmd) (*child, error) {
	c := &child{name: name, log: filepath.Join(p.dir, name+".log"), cmd: cmd, done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// The kernel ends the child when the thread that made it ends, so that thread stays until then.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.children = append(p.children, c)
	return c, nil
}

func (c *child) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// end asks it to end, and makes it end when it has not within a while.
func (c *child) end(patience time.Duration) error {
	// It may have ended by itself.
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
		return c.err
	case <-time.After(patience):
		c.kill()
		return fmt.Errorf("%s has not ended %s after SIGTERM and was killed; the end of its log:\n%s", c.name, patience, c.tail())
	}
}

func (c *child) kill() {
	// It may have ended by itself.
	_ = c.cmd.Process.Kill()
	<-c.done
}

// tail is the end of what it has logged.
func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// freePorts are ports of loopback that nobody listens on just now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
