// linux/pkt_sched.h and linux/pkt_cls.h: handles of the clsact qdisc and the bpf classifier.
namespace XenFastPath.Interop;

public static class PktSched
{
    public const uint TC_H_CLSACT = 0xfffffff1, TC_H_MAJ_MASK = 0xffff0000;
    public const uint TC_H_MIN_INGRESS = 0xfff2, TC_H_MIN_EGRESS = 0xfff3;

    public const ushort TCA_BPF_FD = 6, TCA_BPF_NAME = 7, TCA_BPF_FLAGS = 8, TCA_BPF_ID = 11;
    public const uint TCA_BPF_FLAG_ACT_DIRECT = 1;
    public const ushort ETH_P_ALL = 0x0003, ETH_P_8021Q = 0x8100;
}
