// Attaches the programs to devices. What is attached stays attached while the daemon restarts: the links are pinned.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// The two hooks of a port: policy (tcx from kernel 6.6 on, before that a clsact filter) and XDP. A link that an earlier daemon
/// pinned is taken over and its program swapped without a gap.
/// </summary>
internal sealed unsafe class PortHooks(BpfProgram program, PinFolder pins, Rtnl rtnl)
{
    private const string Policy = "policy", Xdp = "xdp";
    private const ushort FilterPriority = 1;

    /// <summary>BPF_F_BEFORE without a relative: in front of everybody else's programs, which might end the chain.</summary>
    private const uint BPF_F_BEFORE = 8;

    private readonly Dictionary<string, int> _links = [];
    private bool _isTcxMissing;

    /// <summary>Takes over the links that are pinned: this layout's, and those of other versions, which move here.</summary>
    public void TakeOver()
    {
        foreach (string folder in pins.OtherVersions().ToList())
        {
            foreach (string pin in Directory.EnumerateFiles(folder, "link-*"))
                Move(pin);
            PinFolder.Remove(folder);
        }

        foreach (string pin in Directory.EnumerateFiles(pins.Path, "link-*"))
        {
            int fd = LibBpf.bpf_obj_get(pin);
            int error = fd < 0 ? -fd : Swap(fd, pin);
            if (error == 0)
            {
                _links[pin] = fd;
                continue;
            }

            // The device is gone: what is left of the link is its name.
            if (fd >= 0)
                close(fd);
            File.Delete(pin);
        }
    }

    /// <summary>Puts the policy hook on a device, unless it is there.</summary>
    /// <exception cref="FastPathException">The kernel refused.</exception>
    public void AttachPolicy(int ifindex, string device)
    {
        string pin = pins.Link(ifindex, Policy);
        if (_links.ContainsKey(pin))
            return;
        if (!_isTcxMissing)
        {
            int error = Create(program.Policy, ifindex, LibBpf.BPF_TCX_INGRESS, BPF_F_BEFORE, pin);
            if (error == 0)
                return;
            if (error != Errno.EINVAL)
                throw new FastPathException($"policy hook on {device}: {Errno.Describe(error)}");
            _isTcxMissing = true;
        }

        try
        {
            rtnl.CreateClsact(ifindex);
        }
        catch (NetlinkException e) when (e.Errno == Errno.EEXIST)
        {
            // Somebody else's filters live there too; ours runs first by its priority.
        }

        rtnl.SetBpfFilter(ifindex, TcHook.Ingress, FilterPriority, program.Policy, Bypass.PolicyFilterName);
    }

    /// <summary>Attaches XDP, unless it is there. Returns 0 or the errno.</summary>
    public int AttachXdp(int ifindex, bool native)
    {
        string pin = pins.Link(ifindex, Xdp);
        return _links.ContainsKey(pin)
            ? 0
            : Create(program.Xdp, ifindex, LibBpf.BPF_XDP, native ? LibBpf.XDP_FLAGS_DRV_MODE : LibBpf.XDP_FLAGS_SKB_MODE, pin);
    }

    public bool HasXdp(int ifindex) => _links.ContainsKey(pins.Link(ifindex, Xdp));

    public void DetachXdp(int ifindex) => Detach(pins.Link(ifindex, Xdp));

    /// <summary>Takes both hooks off; the device may be gone.</summary>
    public void DetachAll(int ifindex)
    {
        DetachXdp(ifindex);
        Detach(pins.Link(ifindex, Policy));
        if (!_isTcxMissing)
            return;
        try
        {
            rtnl.DeleteBpfFilter(ifindex, TcHook.Ingress, FilterPriority);
        }
        catch (NetlinkException)
        {
            // Gone with its device.
        }
    }

    private int Create(int programFd, int ifindex, int type, uint flags, string pin)
    {
        bpf_link_create_opts options = new() { sz = (nuint)sizeof(bpf_link_create_opts), flags = flags };
        int link = LibBpf.bpf_link_create(programFd, ifindex, type, &options);
        if (link < 0)
            return -link;
        File.Delete(pin);
        int error = -LibBpf.bpf_obj_pin(link, pin);
        if (error != 0)
        {
            close(link);
            return error;
        }

        _links[pin] = link;
        return 0;
    }

    private void Detach(string pin)
    {
        if (!_links.Remove(pin, out int link))
            return;
        File.Delete(pin);
        close(link);    // the last reference: the kernel detaches
    }

    private int Swap(int link, string pin) =>
        -LibBpf.bpf_link_update(link, pin.EndsWith(Xdp, StringComparison.Ordinal) ? program.Xdp : program.Policy, null);

    private void Move(string oldPin)
    {
        int link = LibBpf.bpf_obj_get(oldPin);
        if (link < 0)
            return;
        if (Swap(link, oldPin) == 0)
            LibBpf.bpf_obj_pin(link, Path.Combine(pins.Path, Path.GetFileName(oldPin)));
        close(link);
    }
}
