//! How a kernel over slices becomes a tensor operation of the `flex` backend, with autodiff if an input has it.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, BackendTensor, DispatchKindConversion, DispatchTensor, Flex};
use burn::tensor::{DType, Tensor, TensorData};

/// A contiguous f32 array.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    /// Contiguous from its start.
    tensor: FlexTensor,
}

impl Array {
    pub(super) fn new(values: Vec<f32>, shape: Vec<usize>) -> Self {
        Self { tensor: FlexTensor::from_data(TensorData::new(values, shape.clone())), shape }
    }

    fn from_tensor(tensor: &FlexTensor) -> Self {
        let tensor = tensor.to_contiguous();
        Self { shape: tensor.layout().shape().to_vec(), tensor }
    }

    pub(super) fn values(&self) -> &[f32] {
        self.tensor.as_slice::<f32>().expect("made contiguous")
    }

    /// Width of the last dimension.
    pub(super) fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// A differentiable operation of `N` inputs and one output.
pub(super) trait Kernel<const N: usize>: Clone + Send + Debug + 'static {
    /// The output, and values that the gradient will need.
    fn forward(&self, inputs: &[Array; N]) -> (Array, Vec<f32>);

    /// Gradients of the inputs.
    fn backward(&self, saved: &Saved<N>, gradient: &Array) -> [Array; N];
}

/// What a backward pass finds of the forward one.
#[derive(Clone, Debug)]
pub(super) struct Saved<const N: usize> {
    pub(super) inputs: [Array; N],
    pub(super) output: Array,
    pub(super) extra: Vec<f32>,
}

type AutodiffTensor = FloatTensor<Autodiff<Flex>>;

/// Inputs that kernels can take.
pub(super) enum Inputs<const N: usize> {
    Plain([FlexTensor; N]),
    Tracked([AutodiffTensor; N]),
}

/// The inputs as f32 tensors of the `flex` backend; None if they are anything else.
pub(super) fn inputs<const N: usize>(tensors: [DispatchTensor; N]) -> Option<Inputs<N>> {
    let tracked = tensors.iter().any(is_tracked);
    if tracked {
        let all: Option<Vec<_>> = tensors.into_iter().map(tracked_primitive).collect();
        all.and_then(|all| all.try_into().ok()).map(Inputs::Tracked)
    } else {
        let all: Option<Vec<_>> = tensors.into_iter().map(plain_primitive).collect();
        all.and_then(|all| all.try_into().ok()).map(Inputs::Plain)
    }
}

fn is_tracked(tensor: &DispatchTensor) -> bool {
    tensor.autodiff != burn::backend::DispatchAutodiffContext::Disabled
}

fn plain_primitive(tensor: DispatchTensor) -> Option<FlexTensor> {
    match <DispatchTensor as DispatchKindConversion<Flex>>::try_into_backend(tensor).ok()? {
        BackendTensor::Float(tensor) if tensor.dtype() == DType::F32 => Some(tensor),
        _ => None,
    }
}

fn tracked_primitive(tensor: DispatchTensor) -> Option<AutodiffTensor> {
    if !is_tracked(&tensor) {
        return Some(AutodiffTensor::new(plain_primitive(tensor)?));
    }
    match <DispatchTensor as DispatchKindConversion<Autodiff<Flex>>>::try_into_backend(tensor).ok()? {
        BackendTensor::Float(tensor) => Some(tensor),
        _ => None,
    }
}

/// Runs the kernel and, if an input is tracked, records its gradient.
pub(super) fn apply<K: Kernel<N>, const N: usize, const D: usize>(kernel: K, inputs: Inputs<N>) -> Tensor<D> {
    match inputs {
        Inputs::Plain(inputs) => {
            let (output, _) = kernel.forward(&inputs.each_ref().map(Array::from_tensor));
            Tensor::from_primitive::<Flex>(output.tensor)
        }
        Inputs::Tracked(inputs) => {
            let nodes = inputs.each_ref().map(AutodiffTensor::node);
            let inputs = inputs.map(|input| Array::from_tensor(&input.into_parts().0));
            let (output, extra) = kernel.forward(&inputs);
            let primitive = output.tensor.clone();
            let step = Step(kernel);
            let output = match step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prepared) => prepared.finish(Saved { inputs, output, extra }, primitive),
                OpsKind::UnTracked(prepared) => prepared.finish(primitive),
            };
            Tensor::from_primitive::<Autodiff<Flex>>(output)
        }
    }
}

#[derive(Clone, Debug)]
struct Step<K>(K);

impl<K: Kernel<N>, const N: usize> Backward<Flex, N> for Step<K> {
    type State = Saved<N>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Array::from_tensor(&gradients.consume::<Flex>(&ops.node));
        let of_inputs = self.0.backward(&ops.state, &gradient);
        for (parent, gradient) in ops.parents.into_iter().zip(of_inputs) {
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent.id, gradient.tensor);
            }
        }
    }
}
