// Command controlplane runs etcd and kube-apiserver in one process on loopback, for tests.
//
// Everything lives under --data: certificates, token, keys and etcd's files. Started again on the
// same folder it serves the same objects on the same port, so that a restart of the API server can
// be tested. When it is ready it prints one line, "ready KUBECONFIG", on standard output. It ends
// on SIGTERM and SIGINT, and with --exit-with-stdin also when standard input closes, so that a
// test that dies leaves nothing behind.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// Two components in one process would both configure logging, which ends it: the controllers run
// in a process of their own, started from the same program under this first argument.
const controllersArgument = "kcm"

func main() {
	if len(os.Args) > 1 && os.Args[1] == controllersArgument {
		command := controllermanager.NewControllerManagerCommand()
		command.SetArgs(os.Args[2:])
		if err := command.Execute(); err != nil {
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func run() error {
	data := flag.String("data", "", "folder for everything; made when it is missing")
	controllers := flag.String("controllers", "", "controllers to run, by their long names, comma-separated")
	exitWithStdin := flag.Bool("exit-with-stdin", false, "end when standard input closes")
	flag.Parse()
	if *data == "" {
		return fmt.Errorf("--data is required")
	}
	files, err := prepare(*data)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", *data, err)
	}
	if *exitWithStdin {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
		}()
	}
	etcd, err := startEtcd(files)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer etcd.Close()
	go announceWhenReady(files, *controllers)
	return serve(files)
}

func startEtcd(files *files) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = filepath.Join(files.root, "etcd")
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	client, peer := loopback(files.Ports.EtcdClient), loopback(files.Ports.EtcdPeer)
	config.ListenClientUrls, config.AdvertiseClientUrls = client, client
	config.ListenPeerUrls, config.AdvertisePeerUrls = peer, peer
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-time.After(60 * time.Second):
		etcd.Close()
		return nil, fmt.Errorf("not ready within 60 s")
	}
}

// serve returns when the API server has been told to end and has ended.
func serve(files *files) error {
	command := apiserver.NewAPIServerCommand()
	command.SetArgs([]string{
		"--etcd-servers=http://127.0.0.1:" + strconv.Itoa(files.Ports.EtcdClient),
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(files.Ports.API),
		"--cert-dir=" + files.certs(),
		"--token-auth-file=" + files.tokens(),
		"--service-account-key-file=" + files.serviceAccountKey(),
		"--service-account-signing-key-file=" + files.serviceAccountKey(),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
		"--anonymous-auth=false",
		// Clusters allow it, and a policy that forbids it must see it.
		"--allow-privileged=true",
		// A loopback address is no valid endpoint of the kubernetes Service.
		"--endpoint-reconciler-type=none",
		// Without its controller no namespace has a default account, and every pod would be refused.
		"--disable-admission-plugins=ServiceAccount",
		"--profiling=false",
		"--v=0",
	})
	return command.Execute()
}

func announceWhenReady(files *files, controllers string) {
	if err := waitUntilReady(files, 120*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
	if err := files.writeKubeconfig(); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane: kubeconfig:", err)
		os.Exit(1)
	}
	if controllers != "" {
		if err := startControllers(files, controllers); err != nil {
			fmt.Fprintln(os.Stderr, "controlplane: controllers:", err)
			os.Exit(1)
		}
	}
	fmt.Println("ready", files.kubeconfig())
}

func startControllers(files *files, names string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(program, controllersArgument,
		"--kubeconfig="+files.kubeconfig(),
		"--controllers="+names,
		"--service-account-private-key-file="+files.serviceAccountKey(),
		"--leader-elect=false",
		"--secure-port=0",
	)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command.Start()
}
