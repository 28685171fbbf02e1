// Attaches the programs to devices. What is attached stays attached while the daemon restarts: the links are pinned.
using XenFastPath.Interop;
using XenFastPath.Netlink;
using XenFastPath.Reconcile;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// The two hooks of a port: policy (tcx from kernel 6.6 on, before that a clsact filter) and XDP. A link that an earlier daemon
/// pinned is taken over and its program swapped without a gap. Tests say <paramref name="mayUseTcx"/> false to have the filter.
/// </summary>
internal sealed unsafe class PortHooks(BpfProgram program, PinFolder pins, Rtnl rtnl, bool mayUseTcx = true)
{
    private const string Policy = "policy", Xdp = "xdp";

    /// <summary>BPF_F_BEFORE without a relative: in front of everybody else's programs, which might end the chain.</summary>
    private const uint BPF_F_BEFORE = 8;

    private readonly Dictionary<string, int> _links = [];
    private bool _isTcxMissing = !mayUseTcx;

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

        AttachFilter(ifindex);
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

    public void DetachXdp(int ifindex) => _ = Detach(pins.Link(ifindex, Xdp));

    /// <summary>Takes both hooks off; the device may be gone.</summary>
    public void DetachAll(int ifindex)
    {
        DetachXdp(ifindex);
        if (Detach(pins.Link(ifindex, Policy)))
            return;
        try
        {
            if (OurFilter(ifindex) is { } ours)
                rtnl.DeleteBpfFilter(ifindex, TcHook.Ingress, ours.Priority);
        }
        catch (NetlinkException)
        {
            // Gone with its device.
        }
    }

    /// <summary>Without tcx: a filter of our name, new at the first priority that nobody has, or in the place of an earlier daemon's.</summary>
    private void AttachFilter(int ifindex)
    {
        try
        {
            rtnl.CreateClsact(ifindex);
        }
        catch (NetlinkException e) when (e.Errno == Errno.EEXIST)
        {
            // Somebody else's filters live there too. One that has priority 1 runs before ours, and may end the chain.
        }

        if (OurFilter(ifindex) is { } ours)
        {
            rtnl.SetBpfFilter(ifindex, TcHook.Ingress, ours.Priority, program.Policy, Bypass.PolicyFilterName);
            return;
        }

        HashSet<ushort> taken = [.. rtnl.GetFilters(ifindex, TcHook.Ingress).Select(f => f.Priority)];
        ushort priority = 1;
        while (taken.Contains(priority))
            priority++;
        rtnl.AddBpfFilter(ifindex, TcHook.Ingress, priority, program.Policy, Bypass.PolicyFilterName);
    }

    private FilterInfo? OurFilter(int ifindex) => rtnl.GetFilters(ifindex, TcHook.Ingress).FirstOrDefault(f => f.BpfName == Bypass.PolicyFilterName);

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

    /// <summary>False if there was no such link.</summary>
    private bool Detach(string pin)
    {
        if (!_links.Remove(pin, out int link))
            return false;
        File.Delete(pin);
        close(link);    // the last reference: the kernel detaches
        return true;
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
