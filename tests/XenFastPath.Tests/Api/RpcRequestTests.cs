using System.Text;
using XenFastPath.Api;

namespace XenFastPath.Tests.Api;

public sealed class RpcRequestTests
{
    private static readonly byte[] Valid =
    [
        .. """{"jsonrpc":"2.0","id":"x","method":"network.create","params":{"label":"é","mtu":1500,"pif":null}}"""u8,
    ];

    [Fact]
    public void Random_bytes_are_refused_and_never_throw()
    {
        var random = new Random(20261122);
        for (int round = 0; round < 5_000; round++)
        {
            byte[] bytes = new byte[random.Next(0, 64)];
            random.NextBytes(bytes);
            Assert.NotNull(RpcRequest.Parse(bytes).Fault);
        }
    }

    [Fact]
    public void A_request_with_damaged_bytes_never_throws()
    {
        var random = new Random(20261123);
        for (int round = 0; round < 5_000; round++)
        {
            byte[] bytes = [.. Valid];
            for (int damage = random.Next(1, 4); damage > 0; damage--)
            {
                bytes[random.Next(bytes.Length)] = "\"\\{}[],:0-eu\0\n\u007f"u8[random.Next(15)];
            }
            RpcRequest request = RpcRequest.Parse(bytes);
            if (request.Fault is null && request.Method == "network.create")
            {
                Explains(request.Params);
            }
        }
    }

    [Fact]
    public void Every_beginning_of_a_request_is_no_request()
    {
        for (int length = 0; length < Valid.Length; length++)
        {
            Assert.Equal(ApiErrorCode.ParseError, RpcRequest.Parse(Valid.AsMemory(0, length)).Fault!.Code);
        }
        Assert.Null(RpcRequest.Parse(Valid).Fault);
    }

    [Theory]
    [InlineData(new byte[] { 0xff })]
    [InlineData(new byte[] { (byte)'"', 0xc3, (byte)'"' })]
    [InlineData(new byte[] { (byte)'"', 0xed, 0xa0, 0x80, (byte)'"' })]
    public void Bytes_that_are_not_utf8_are_a_parse_error(byte[] bytes)
    {
        byte[] line = [.. "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":"u8, .. bytes, .. "}"u8];
        RpcFault fault = RpcRequest.Parse(line).Fault!;
        Assert.Equal((ApiErrorCode.ParseError, "the line is not valid UTF-8"), (fault.Code, fault.Message));
    }

    [Fact]
    public void Depth_is_bounded()
    {
        string nested = string.Concat(Enumerable.Repeat("[", 100_000));
        byte[] line = Encoding.UTF8.GetBytes("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"plan\",\"params\":" + nested);
        Assert.Equal(ApiErrorCode.ParseError, RpcRequest.Parse(line).Fault!.Code);
    }

    // Whatever valid JSON stands in params, the answer is a result or an error that says something.
    private static void Explains(ReadOnlyMemory<byte> parameters)
    {
        try
        {
            _ = ApiMethods.NetworkCreate.InvokeAsync(new FakeDaemon(), parameters.Span, default).AsTask();
        }
        catch (RpcFault fault)
        {
            Assert.Equal(ApiErrorCode.InvalidParams, fault.Code);
            Assert.NotEmpty(fault.Message);
        }
    }
}
